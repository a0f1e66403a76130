"""A node's block template (BIP22, BIP23, BIP145) as a checked value.

The node is trusted to be honest but not to be well: a field that is missing, malformed or beyond
a limit raises TemplateError with its name, so that a bad template never becomes a job. Amounts
and transactions are taken as given; the node proved them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pithead.coins.params import ChainParams
from pithead.coins.script import HEIGHT_MAX, is_witness_commitment
from pithead.coins.tx import VALUE_MAX
from pithead.coins.weight import WeightError, bits_to_target

TRANSACTIONS_MAX = 66_666
"""No transaction is below 60 bytes, and a block never has more than 4,000,000."""

COMMITMENT_BYTES_MAX = 83
"""The commitment output is 38 bytes; more may follow (BIP141), up to a standard OP_RETURN."""

LONGPOLL_ID_CHARS_MAX = 1024

KNOWN_RULES = frozenset({"csv", "segwit", "taproot", "testdummy"})
"""Soft forks that a template may demand (marked `!`) and that jobs are built to honour."""

_HEADER_BYTES = 80
_TX_BYTES_MIN = 60
_U32_MAX = 0xFFFFFFFF


class TemplateError(ValueError):
    """A template that no job can be made of; the message names the field and what is wrong."""


@dataclass(frozen=True, slots=True)
class TemplateTx:
    """A transaction to include: wire bytes with witness, and its txid in internal order."""

    data: bytes
    txid: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """What the next block must be, by one node at one moment."""

    height: int
    parent: bytes
    """Previous block hash, internal order."""
    version: int
    """Unsigned 32-bit reading of the header version."""
    bits: int
    target: int
    """What `bits` stands for."""
    time: int
    """The node's time for the block, Unix seconds."""
    min_time: int
    """Least header time that consensus allows."""
    coinbase_value: int
    """Subsidy and fees in base units."""
    transactions: tuple[TemplateTx, ...] = field(repr=False)
    witness_commitment: bytes | None = None
    """Script of the commitment output when the block must carry one, as the node gave it."""
    longpoll_id: str | None = None
    extra: bytes = field(default=b"", repr=False)
    """Bytes that follow the last transaction in the block."""

    @property
    def size(self) -> int:
        """Bytes of transactions and extra data."""
        return sum(len(tx.data) for tx in self.transactions) + len(self.extra)


def parse_template(params: ChainParams, reply: Mapping[str, Any]) -> Template:
    """A template from the result of `getblocktemplate`; raises TemplateError."""
    if not isinstance(reply, Mapping):
        raise TemplateError(f"template is a {type(reply).__name__}, not an object")
    rules = _rules(reply)
    _refuse_mweb(reply, rules)
    bits = _bits(params, reply)
    transactions = _transactions(params, reply)
    commitment = _commitment(params, reply, rules)
    if commitment is None and any(_has_witness(tx.data) for tx in transactions):
        raise TemplateError("template has witness transactions but no default_witness_commitment")
    longpoll_id = reply.get("longpollid")
    if longpoll_id is not None and not isinstance(longpoll_id, str):
        raise TemplateError("template field longpollid is not a string")
    if longpoll_id is not None and len(longpoll_id) > LONGPOLL_ID_CHARS_MAX:
        raise TemplateError(
            f"template field longpollid is above {LONGPOLL_ID_CHARS_MAX} characters"
        )
    return Template(
        height=_integer(reply, "height", 1, HEIGHT_MAX),
        parent=_hash(reply.get("previousblockhash"), "previousblockhash"),
        # Nodes print the version as a signed number.
        version=_integer(reply, "version", -(1 << 31), _U32_MAX) & _U32_MAX,
        bits=bits,
        target=bits_to_target(bits),
        time=_integer(reply, "curtime", 1, _U32_MAX),
        min_time=_integer(reply, "mintime", 0, _U32_MAX),
        coinbase_value=_integer(reply, "coinbasevalue", 0, VALUE_MAX),
        transactions=transactions,
        witness_commitment=commitment,
        longpoll_id=longpoll_id,
    )


def _refuse_mweb(reply: Mapping[str, Any], rules: frozenset[str] | None) -> None:
    # The rule alone is enough: with MWEB active a block without its MWEB part is invalid.
    if "mweb" in reply or (rules is not None and "!mweb" in rules):
        raise TemplateError(
            "MWEB templates are not supported yet: start the node with "
            "-vbparams=mweb:9999999999:9999999999 on a fresh regtest chain"
        )


def _rules(reply: Mapping[str, Any]) -> frozenset[str] | None:
    """The rules in force, or None when the node does not say (btcd)."""
    given = reply.get("rules")
    if given is None:
        return None
    if not isinstance(given, list) or len(given) > 64:
        raise TemplateError("template field rules is not a short list")
    if not all(isinstance(rule, str) and len(rule) <= 64 for rule in given):
        raise TemplateError("template field rules holds something other than short names")
    for rule in given:
        # BIP9: "!" marks a rule that must be understood to make a valid block.
        if rule.startswith("!") and rule[1:] not in KNOWN_RULES | {"mweb"}:
            raise TemplateError(f"template demands the rule {rule[1:]!r}, which is not supported")
    return frozenset(given)


def _bits(params: ChainParams, reply: Mapping[str, Any]) -> int:
    text = reply.get("bits")
    if not isinstance(text, str) or len(text) != 8:
        raise TemplateError("template field bits is not 8 hex digits")
    bits = int.from_bytes(_bytes(text, "bits", 4), "big")
    try:
        target = bits_to_target(bits)
    except WeightError as error:
        raise TemplateError(f"template field bits: {error}") from error
    if target > params.pow_limit:
        raise TemplateError(
            f"template field bits {bits:08x} is easier than {params.key} allows; "
            "is the node on another network?"
        )
    given = reply.get("target")
    if given is not None and _bytes(given, "target", 32) != target.to_bytes(32, "big"):
        raise TemplateError(f"template field target disagrees with bits {bits:08x}")
    return bits


def _transactions(params: ChainParams, reply: Mapping[str, Any]) -> tuple[TemplateTx, ...]:
    given = reply.get("transactions")
    if not isinstance(given, list):
        raise TemplateError("template field transactions is not a list")
    if len(given) > TRANSACTIONS_MAX:
        raise TemplateError(f"template has {len(given)} transactions, above {TRANSACTIONS_MAX}")
    transactions = []
    room = params.block_weight_max - _HEADER_BYTES
    for index, entry in enumerate(given):
        if not isinstance(entry, Mapping):
            raise TemplateError(f"template transaction {index} is not an object")
        data = _bytes(entry.get("data"), f"transactions[{index}].data")
        if len(data) < _TX_BYTES_MIN:
            raise TemplateError(f"template transaction {index} has only {len(data)} bytes")
        room -= len(data)
        if room < 0:
            raise TemplateError(f"template is above {params.block_weight_max} bytes")
        # Nodes older than segwit give only `hash`, which is the txid there.
        txid = entry.get("txid", entry.get("hash"))
        transactions.append(TemplateTx(data, _hash(txid, f"transactions[{index}].txid")))
    return tuple(transactions)


def _commitment(
    params: ChainParams, reply: Mapping[str, Any], rules: frozenset[str] | None
) -> bytes | None:
    given = reply.get("default_witness_commitment")
    if given is None or not params.segwit:
        return None
    # bcoin gives a commitment before segwit is active, where a block must not carry one. btcd
    # names no rules and gives a commitment only when the block must carry it.
    if rules is not None and not rules & {"segwit", "!segwit"}:
        return None
    script = _bytes(given, "default_witness_commitment")
    if not is_witness_commitment(script) or len(script) > COMMITMENT_BYTES_MAX:
        raise TemplateError("template field default_witness_commitment is no BIP141 commitment")
    return script


def _has_witness(data: bytes) -> bool:
    return data[4:6] == b"\x00\x01"


def _integer(reply: Mapping[str, Any], name: str, low: int, high: int) -> int:
    value = reply.get(name)
    # JSON's true is an int to Python.
    if not isinstance(value, int) or isinstance(value, bool):
        raise TemplateError(f"template field {name} is missing or not a whole number")
    if not low <= value <= high:
        raise TemplateError(f"template field {name} is {value}, outside {low} .. {high}")
    return value


def _hash(value: object, name: str) -> bytes:
    return _bytes(value, name, 32)[::-1]


def _bytes(value: object, name: str, size: int | None = None) -> bytes:
    if not isinstance(value, str):
        raise TemplateError(f"template field {name} is missing or not a string")
    try:
        data = bytes.fromhex(value)
    except ValueError as error:
        raise TemplateError(f"template field {name} is not hex") from error
    # fromhex skips blanks, which no node writes.
    if 2 * len(data) != len(value):
        raise TemplateError(f"template field {name} is not hex")
    if size is not None and len(data) != size:
        raise TemplateError(f"template field {name} has {len(data)} bytes, expected {size}")
    return data
