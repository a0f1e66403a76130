// probe is both ends of a connection, for tests of the bed's network:
//
//	probe serve :8080     answers each request with the address of its caller
//	probe get URL         prints the answer
//	probe dial HOST:PORT  tells whether somebody listens
package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"
)

const limit = 5 * time.Second

func main() {
	if len(os.Args) != 3 {
		fail(fmt.Errorf("usage: probe serve|get|dial WHERE"))
	}
	switch where := os.Args[2]; os.Args[1] {
	case "serve":
		fail(http.ListenAndServe(where, http.HandlerFunc(caller)))
	case "get":
		get(where)
	case "dial":
		connection, err := net.DialTimeout("tcp", where, limit)
		if err != nil {
			fail(err)
		}
		connection.Close()
	default:
		fail(fmt.Errorf("no command %q", os.Args[1]))
	}
}

func caller(writer http.ResponseWriter, request *http.Request) {
	host, _, _ := net.SplitHostPort(request.RemoteAddr)
	fmt.Fprint(writer, host)
}

func get(url string) {
	client := http.Client{Timeout: limit}
	response, err := client.Get(url)
	if err != nil {
		fail(err)
	}
	defer response.Body.Close()
	if _, err := io.Copy(os.Stdout, response.Body); err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
