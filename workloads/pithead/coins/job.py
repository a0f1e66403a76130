"""Jobs: what miners search, and the header and block that a solution makes.

The coinbase scriptSig is the BIP34 height, then one push of 45 bytes, which makes the work unique:

    tag 12 | salt 16 | serial 4 (big-endian) | extranonce1 5 | extranonce2 8

`coinb1` ends behind the serial, so one text serves all connections of a job serial. A `Work` holds
what one template fixes; a `Job` adds only its serial and is cheap to mint at every retarget.
With six bytes of height the scriptSig has at most 52 of the 100 bytes that consensus allows; 46
stay free for the 45-byte push of merged mining. No clock, no randomness: salt and serial come in.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from struct import Struct

from pithead.coins.hashing import sha256d
from pithead.coins.params import ChainParams
from pithead.coins.script import ScriptError, height_push, parse_height, pushes
from pithead.coins.template import Template
from pithead.coins.tx import NULL_HASH, NULL_INDEX, OutPoint, Tx, TxOut, merkle_branch, varint

MAGIC = b"PTHD"
TAG_BYTES = 12
SALT_BYTES = 16
SERIAL_BYTES = 4
EXTRANONCE1_BYTES = 5
EXTRANONCE2_BYTES = 8
MARK_BYTES = TAG_BYTES + SALT_BYTES + SERIAL_BYTES + EXTRANONCE1_BYTES + EXTRANONCE2_BYTES
EXTRANONCE_BYTES = EXTRANONCE1_BYTES + EXTRANONCE2_BYTES
SERIAL_MAX = (1 << 32) - 1
SCRIPT_SIG_BYTES_MAX = 100
"""Consensus limit of a coinbase scriptSig."""
HEADER_BYTES = 80

_HEADER = Struct("<I32s32sIII")
_COINBASE_VERSION = b"\x02\x00\x00\x00"
_COINBASE_PREVOUT = OutPoint(NULL_HASH, NULL_INDEX).serialize()
_SEQUENCE = b"\xff\xff\xff\xff"
_LOCKTIME = bytes(4)
_WITNESS_MARKER = b"\x00\x01"
_WITNESS_RESERVED = b"\x01\x20" + bytes(32)
"""BIP141: the coinbase's one witness item, 32 zero bytes that the commitment covers."""


class JobError(ValueError):
    """A tag, salt, serial or extranonce of the wrong size."""


def pool_tag(pool_id: str) -> bytes:
    """The pool's mark in its coinbases, 12 bytes: the magic and the head of a hash of its id."""
    return MAGIC + sha256(pool_id.encode()).digest()[: TAG_BYTES - len(MAGIC)]


class Work:
    """What one template fixes for all its jobs, computed once.

    `branch` are the merkle siblings of the coinbase, internal order; `branch_text` and
    `parent_text` are how `mining.notify` spells branch and previous hash. `tag` is from `pool_tag`,
    `salt` is the process's own 16 bytes. Raises JobError for a wrong size.
    """

    __slots__ = ("_coinb1_head", "branch", "branch_text", "coinb2", "parent_text", "template")

    def __init__(self, template: Template, payout_script: bytes, tag: bytes, salt: bytes) -> None:
        _check_size("tag", tag, TAG_BYTES)
        _check_size("salt", salt, SALT_BYTES)
        height = height_push(template.height)
        script_sig_bytes = len(height) + 1 + MARK_BYTES
        if script_sig_bytes > SCRIPT_SIG_BYTES_MAX:
            raise JobError(f"coinbase scriptSig of {script_sig_bytes} bytes is above 100")
        self.template = template
        self._coinb1_head = b"".join(
            (
                _COINBASE_VERSION,
                varint(1),
                _COINBASE_PREVOUT,
                varint(script_sig_bytes),
                height,
                bytes((MARK_BYTES,)),
                tag,
                salt,
            )
        )
        outputs = [TxOut(template.coinbase_value, payout_script)]
        if template.witness_commitment is not None:
            outputs.append(TxOut(0, template.witness_commitment))
        self.coinb2 = b"".join(
            (_SEQUENCE, varint(len(outputs)), *(out.serialize() for out in outputs), _LOCKTIME)
        )
        self.branch = merkle_branch([tx.txid for tx in template.transactions])
        self.branch_text = [sibling.hex() for sibling in self.branch]
        self.parent_text = _swap_words(template.parent).hex()

    def job(self, serial: int) -> "Job":
        """The job of `serial`, 0 .. 2^32 - 1, unique in the process; raises JobError."""
        if not 0 <= serial <= SERIAL_MAX:
            raise JobError(f"job serial {serial} is outside 0 .. {SERIAL_MAX}")
        return Job(self, serial, self._coinb1_head + serial.to_bytes(SERIAL_BYTES, "big"))


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """One serial of a work: the unit that is sent at one difficulty a connection."""

    work: Work
    serial: int
    coinb1: bytes
    """Coinbase bytes up to and with the serial."""

    @property
    def template(self) -> Template:
        """The template that the job builds on."""
        return self.work.template

    @property
    def coinb2(self) -> bytes:
        """Coinbase bytes behind the extranonces."""
        return self.work.coinb2

    @property
    def branch(self) -> list[bytes]:
        """Merkle siblings of the coinbase, internal order."""
        return self.work.branch

    @property
    def job_id(self) -> str:
        """Name of the job on the wire: its serial in hex."""
        return f"{self.serial:x}"

    def notify_params(self, *, clean: bool, ntime: int | None = None) -> list[object]:
        """Parameters of `mining.notify`; `ntime` stands in for the template's time.

        Stratum's byte orders: the previous hash as eight words, each swapped; the branch in
        internal order; version, bits and time as big-endian hex. The branch list is shared: do
        not change it.
        """
        work = self.work
        template = work.template
        return [
            self.job_id,
            work.parent_text,
            self.coinb1.hex(),
            work.coinb2.hex(),
            work.branch_text,
            f"{template.version:08x}",
            f"{template.bits:08x}",
            f"{template.time if ntime is None else ntime:08x}",
            clean,
        ]

    def coinbase(self, extranonce1: bytes, extranonce2: bytes) -> bytes:
        """The coinbase without witness: the form that is hashed into the merkle root."""
        return b"".join((self.coinb1, extranonce1, extranonce2, self.work.coinb2))

    def header(
        self, extranonce1: bytes, extranonce2: bytes, ntime: int, nonce: int, version: int
    ) -> bytes:
        """The 80 bytes that a submit commits to. `version` is the rolled one.

        The caller has checked sizes: extranonces 5 and 8 bytes, numbers unsigned 32-bit.
        """
        work = self.work
        root = sha256(
            sha256(self.coinb1 + extranonce1 + extranonce2 + work.coinb2).digest()
        ).digest()
        for sibling in work.branch:
            root = sha256(sha256(root + sibling).digest()).digest()
        template = work.template
        return _HEADER.pack(version, template.parent, root, ntime, template.bits, nonce)

    def block(
        self, extranonce1: bytes, extranonce2: bytes, ntime: int, nonce: int, version: int
    ) -> bytes:
        """The whole block of a solution, ready for `submitblock`; raises JobError."""
        _check_size("extranonce1", extranonce1, EXTRANONCE1_BYTES)
        _check_size("extranonce2", extranonce2, EXTRANONCE2_BYTES)
        template = self.work.template
        coinbase = self.coinbase(extranonce1, extranonce2)
        if template.witness_commitment is not None:
            coinbase = b"".join(
                (coinbase[:4], _WITNESS_MARKER, coinbase[4:-4], _WITNESS_RESERVED, coinbase[-4:])
            )
        return b"".join(
            (
                self.header(extranonce1, extranonce2, ntime, nonce, version),
                varint(1 + len(template.transactions)),
                coinbase,
                *(tx.data for tx in template.transactions),
                template.extra,
            )
        )


def make_job(template: Template, payout_script: bytes, tag: bytes, salt: bytes, serial: int) -> Job:
    """A single job of a template; mint further serials from its `work`."""
    return Work(template, payout_script, tag, salt).job(serial)


def merkle_root_of(coinbase_txid: bytes, branch: Sequence[bytes]) -> bytes:
    """Merkle root above a coinbase, internal order, from its id and the siblings on its way."""
    root = coinbase_txid
    for sibling in branch:
        root = sha256d(root + sibling)
    return root


@dataclass(frozen=True, slots=True)
class Mark:
    """What a coinbase of this software says about its origin."""

    tag: bytes
    salt: bytes
    serial: int
    extranonce1: bytes
    extranonce2: bytes

    @property
    def slot(self) -> int:
        """The scheme's slot: the first byte of extranonce1."""
        return self.extranonce1[0]


def parse_coinbase_mark(params: ChainParams, coinbase_tx: Tx) -> Mark | None:
    """The mark in a coinbase of the chain, or None when another software made it.

    It is looked for in every push, since a merged-mining push may stand before it.
    """
    if not coinbase_tx.is_coinbase:
        return None
    script_sig = coinbase_tx.inputs[0].script_sig
    try:
        parse_height(script_sig)
    except ScriptError:
        return None
    for data in pushes(script_sig):
        if len(data) == MARK_BYTES and data.startswith(MAGIC):
            return _read_mark(data)
    return None


def coinbase_value_to(coinbase_tx: Tx, payout_script: bytes) -> int:
    """Base units of a coinbase that pay `payout_script`."""
    return sum(out.value for out in coinbase_tx.outputs if out.script == payout_script)


def _read_mark(data: bytes) -> Mark:
    salt_at = TAG_BYTES
    serial_at = salt_at + SALT_BYTES
    extranonce1_at = serial_at + SERIAL_BYTES
    extranonce2_at = extranonce1_at + EXTRANONCE1_BYTES
    return Mark(
        tag=data[:salt_at],
        salt=data[salt_at:serial_at],
        serial=int.from_bytes(data[serial_at:extranonce1_at], "big"),
        extranonce1=data[extranonce1_at:extranonce2_at],
        extranonce2=data[extranonce2_at:],
    )


def _check_size(name: str, data: bytes, size: int) -> None:
    if len(data) != size:
        raise JobError(f"{name} has {len(data)} bytes, expected {size}")


def _swap_words(data: bytes) -> bytes:
    return b"".join(data[at : at + 4][::-1] for at in range(0, len(data), 4))
