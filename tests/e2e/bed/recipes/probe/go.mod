module bed/probe

go 1.26.0
