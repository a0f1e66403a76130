"""Locking and unlocking scripts in the few forms that a pool meets, as bytes.

Forms and opcodes are those of Bitcoin Script, BIP16, BIP34, BIP141 and BIP341. Nothing is executed
here.
"""

from collections.abc import Iterator

OP_0 = 0x00
OP_PUSHDATA1 = 0x4C
OP_PUSHDATA2 = 0x4D
OP_PUSHDATA4 = 0x4E
OP_1 = 0x51
OP_16 = 0x60
OP_RETURN = 0x6A

HEIGHT_MAX = (1 << 32) - 1
"""Heights in records are unsigned 32-bit."""

WITNESS_COMMITMENT_PREFIX = bytes.fromhex("6a24aa21a9ed")
"""Head of the output that commits to all witnesses (BIP141)."""


class ScriptError(ValueError):
    """A script that cannot be built, or bytes that are no script of the form asked for."""


def push(data: bytes) -> bytes:
    """The shortest plain push of `data`, at most 65,535 bytes; no small-number opcodes."""
    size = len(data)
    if size < OP_PUSHDATA1:
        return bytes((size,)) + data
    if size <= 0xFF:
        return bytes((OP_PUSHDATA1, size)) + data
    if size <= 0xFFFF:
        return bytes((OP_PUSHDATA2,)) + size.to_bytes(2, "little") + data
    raise ScriptError(f"a push of {size} bytes is above 65535")


def height_push(height: int) -> bytes:
    """BIP34: the height as the coinbase must begin with it, 1 to 6 bytes.

    0 to 16 are the small-number opcodes, as nodes compare with `CScript() << height`.
    """
    if not 0 <= height <= HEIGHT_MAX:
        raise ScriptError(f"height {height} is outside 0 .. {HEIGHT_MAX}")
    if height == 0:
        return bytes((OP_0,))
    if height <= 16:
        return bytes((OP_1 + height - 1,))
    # One spare bit keeps the sign of the script number clear.
    return push(height.to_bytes(height.bit_length() // 8 + 1, "little"))


def parse_height(script_sig: bytes) -> int:
    """Height that a coinbase begins with (BIP34); raises ScriptError for any other beginning."""
    first = script_sig[0] if script_sig else -1
    if first == OP_0:
        return 0
    if OP_1 <= first <= OP_16:
        return first - OP_1 + 1
    number = script_sig[1 : 1 + first] if 1 <= first <= 5 else b""
    if first < 1 or len(number) != first:
        raise ScriptError("coinbase does not begin with a height")
    height = int.from_bytes(number, "little")
    if height > HEIGHT_MAX or height_push(height) != script_sig[: 1 + first]:
        raise ScriptError("coinbase height is negative or not minimal")
    return height


def pushes(script: bytes) -> Iterator[bytes]:
    """The data of each plain push, from the left, until the first other opcode or cut-off push.

    Small-number opcodes count as empty pushes: they carry no bytes.
    """
    offset = 0
    while offset < len(script):
        opcode = script[offset]
        offset += 1
        if OP_1 <= opcode <= OP_16:
            yield b""
            continue
        if opcode > OP_PUSHDATA4:
            return
        size = opcode
        if opcode >= OP_PUSHDATA1:
            width = 1 << (opcode - OP_PUSHDATA1)
            if offset + width > len(script):
                return
            size = int.from_bytes(script[offset : offset + width], "little")
            offset += width
        if offset + size > len(script):
            return
        yield script[offset : offset + size]
        offset += size


def p2pkh(key_hash: bytes) -> bytes:
    """Pay to the 20-byte hash of a public key."""
    return b"\x76\xa9" + _sized(key_hash, 20) + b"\x88\xac"


def p2sh(script_hash: bytes) -> bytes:
    """Pay to the 20-byte hash of a script (BIP16)."""
    return b"\xa9" + _sized(script_hash, 20) + b"\x87"


def p2wpkh(key_hash: bytes) -> bytes:
    """Pay to a version 0 witness key hash, 20 bytes (BIP141)."""
    return b"\x00" + _sized(key_hash, 20)


def p2wsh(script_hash: bytes) -> bytes:
    """Pay to a version 0 witness script hash, 32 bytes (BIP141)."""
    return b"\x00" + _sized(script_hash, 32)


def p2tr(output_key: bytes) -> bytes:
    """Pay to a version 1 witness key, 32 bytes (BIP341)."""
    return b"\x51" + _sized(output_key, 32)


def witness_script(version: int, program: bytes) -> bytes:
    """Locking script of any witness program (BIP141): version 0 .. 16, 2 .. 40 bytes."""
    if not 0 <= version <= 16 or not 2 <= len(program) <= 40:
        raise ScriptError(f"no witness program: version {version}, {len(program)} bytes")
    return bytes((OP_1 + version - 1 if version else OP_0,)) + push(program)


def is_p2pkh(script: bytes) -> bool:
    """Whether `script` pays to a key hash."""
    return len(script) == 25 and script[:3] == b"\x76\xa9\x14" and script[23:] == b"\x88\xac"


def is_p2sh(script: bytes) -> bool:
    """Whether `script` pays to a script hash."""
    return len(script) == 23 and script[:2] == b"\xa9\x14" and script[22:] == b"\x87"


def is_p2wpkh(script: bytes) -> bool:
    """Whether `script` pays to a version 0 witness key hash."""
    return len(script) == 22 and script[:2] == b"\x00\x14"


def is_p2wsh(script: bytes) -> bool:
    """Whether `script` pays to a version 0 witness script hash."""
    return len(script) == 34 and script[:2] == b"\x00\x20"


def is_p2tr(script: bytes) -> bool:
    """Whether `script` pays to a version 1 witness key."""
    return len(script) == 34 and script[:2] == b"\x51\x20"


def is_op_return(script: bytes) -> bool:
    """Whether `script` can never be spent, so that its value is burnt."""
    return script[:1] == bytes((OP_RETURN,))


def is_witness_commitment(script: bytes) -> bool:
    """Whether `script` commits to the block's witnesses (BIP141)."""
    return len(script) >= 38 and script.startswith(WITNESS_COMMITMENT_PREFIX)


def witness_program(script: bytes) -> tuple[int, bytes] | None:
    """Version and program of a witness locking script (BIP141), or None."""
    if not 4 <= len(script) <= 42 or script[1] != len(script) - 2:
        return None
    if script[0] == OP_0:
        return 0, script[2:]
    if OP_1 <= script[0] <= OP_16:
        return script[0] - OP_1 + 1, script[2:]
    return None


def _sized(data: bytes, size: int) -> bytes:
    if len(data) != size:
        raise ScriptError(f"{size} bytes expected in a locking script, got {len(data)}")
    return bytes((size,)) + data
