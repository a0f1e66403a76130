"""Ways in which a coin node can fail a call: one class for each thing a caller can do about it.

    NodeError
    ├── NodeUnreachable    nobody answers at the address: retry, or ask another node
    ├── NodeRefused        credentials or address not allowed: an operator has to act
    ├── NodeOfOtherChain   serves another network: an operator has to act
    ├── NodeNotReady       answers, but can give no work
    │   ├── NodeSyncing        starting, or in initial block download
    │   └── NodeNotConnected   has no peers
    ├── NodeBusy           its work queue is full
    │   └── NodeTimeout    no answer in time; the call may still take effect
    ├── NodeGarbled        the answer is cut off, too large, or not what the call returns
    └── RpcFault           the node's own refusal of this call: code and message

Each message names the node, its address and the method; none holds a password.
"""

FOREIGN_TEXT_MAX = 256
"""Characters of a node's own words that a message repeats: they can hold anything."""


class NodeError(Exception):
    """Base: `node` is the node's name, `url` its address, `method` the call that failed."""

    def __init__(self, node: str, url: str, method: str, trouble: str) -> None:
        self.node = node
        self.url = url
        self.method = method
        self.trouble = trouble
        super().__init__(f"node {node} at {url}: {method}: {trouble}")


class NodeUnreachable(NodeError):
    """Raised when no connection to the node can be made or kept."""

    def __init__(self, node: str, url: str, method: str, reason: str) -> None:
        super().__init__(
            node,
            url,
            method,
            f"cannot be reached ({reason}); start the node or correct the address",
        )


class NodeRefused(NodeError):
    """Raised when the node does not let us in."""

    def __init__(self, node: str, url: str, method: str, user: str, status: int) -> None:
        self.user = user
        remedy = (
            "correct the RPC user and password of this node"
            if status == 401
            else "allow this machine's address (rpcallowip) and the call (rpcwhitelist)"
        )
        super().__init__(
            node, url, method, f"refuses user {user!r} (HTTP status {status}); {remedy}"
        )


class NodeOfOtherChain(NodeError):
    """Raised when the node serves another network than the one it was given for."""

    def __init__(self, node: str, url: str, method: str, expected: str, got: str) -> None:
        super().__init__(
            node,
            url,
            method,
            f"serves {got[:FOREIGN_TEXT_MAX]!r}, expected a node of {expected}; "
            "correct the address or the network of the CoinEndpoint",
        )


class NodeNotReady(NodeError):
    """Raised when the node answers but can give no work yet."""


class NodeSyncing(NodeNotReady):
    """Raised while the node starts or downloads the chain."""

    def __init__(self, node: str, url: str, method: str, said: str) -> None:
        super().__init__(node, url, method, f"still syncing ({said}); wait until it is done")


class NodeNotConnected(NodeNotReady):
    """Raised when the node has no peers, so that its blocks would reach nobody."""

    def __init__(self, node: str, url: str, method: str, said: str) -> None:
        super().__init__(node, url, method, f"has no peers ({said}); connect it to its network")


class NodeBusy(NodeError):
    """Raised when the node has no room for the call."""


class NodeTimeout(NodeBusy):
    """Raised when the node did not answer in time."""

    def __init__(self, node: str, url: str, method: str, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        super().__init__(
            node,
            url,
            method,
            f"gives no answer within {timeout_s:g} s; see whether it hangs or has too much to do",
        )


class NodeGarbled(NodeError):
    """Raised when the answer is not one that the call can have."""


class RpcFault(NodeError):
    """Raised when the node refuses the call itself; `code` and `message` are the node's."""

    def __init__(self, node: str, url: str, method: str, code: int, message: str) -> None:
        self.code = code
        self.message = message
        super().__init__(node, url, method, f"answers error {code}: {message[:FOREIGN_TEXT_MAX]}")
