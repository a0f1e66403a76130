"""Keys and signatures of P2PKH and P2WPKH inputs (secp256k1, SIGHASH_ALL).

Signatures are deterministic (RFC 6979) and low-S (BIP146), so that signing the same transaction
again gives the same bytes and hence the same txid. Other hash types and scripts are refused: no
wallet of ours makes them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from struct import pack

import base58
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from pithead.coins.hashing import hash160, sha256d
from pithead.coins.params import ChainParams
from pithead.coins.script import is_p2pkh, is_p2wpkh, p2pkh, p2wpkh, push, pushes
from pithead.coins.tx import Tx, TxIn, TxOut, varint

SIGHASH_ALL = 1
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
"""Order of the secp256k1 group."""
_HASH = utils.Prehashed(SHA256())


class BadKey(ValueError):
    """A secret or exported key that is no private key of the chain."""


class SpendError(ValueError):
    """An input that cannot be signed: unknown script, or a key that is not its own."""


class PrivateKey:
    """A secp256k1 key that signs; its text never appears in `repr`."""

    __slots__ = ("_key", "public", "secret")

    def __init__(self, secret: bytes) -> None:
        number = int.from_bytes(secret, "big")
        if len(secret) != 32 or not 0 < number < ORDER:
            raise BadKey("a private key is 32 bytes, above zero and below the group order")
        self.secret = secret
        self._key = ec.derive_private_key(number, ec.SECP256K1())
        self.public: bytes = self._key.public_key().public_bytes(
            Encoding.X962, PublicFormat.CompressedPoint
        )
        """The compressed public key, 33 bytes."""

    def __repr__(self) -> str:
        return f"PrivateKey(public={self.public.hex()})"

    @property
    def key_hash(self) -> bytes:
        """Hash that P2PKH and P2WPKH scripts name, 20 bytes."""
        return hash160(self.public)

    def p2pkh(self) -> bytes:
        """Locking script of this key without segwit."""
        return p2pkh(self.key_hash)

    def p2wpkh(self) -> bytes:
        """Locking script of this key with segwit."""
        return p2wpkh(self.key_hash)

    def sign(self, digest: bytes) -> bytes:
        """DER signature of a 32-byte digest, deterministic and low-S, without a hash type."""
        der = self._key.sign(digest, ec.ECDSA(_HASH, deterministic_signing=True))
        r, s = utils.decode_dss_signature(der)
        return utils.encode_dss_signature(r, min(s, ORDER - s))


def wif_of_key(params: ChainParams, key: PrivateKey) -> str:
    """Export form of a key with a compressed public key."""
    payload = bytes((params.wif_prefix,)) + key.secret + b"\x01"
    return str(base58.b58encode_check(payload).decode("ascii"))


def key_of_wif(params: ChainParams, wif: str) -> PrivateKey:
    """The key that `wif` exports; raises BadKey without repeating the text, as it is a secret."""
    try:
        payload = base58.b58decode_check(wif)
    except ValueError as error:
        raise BadKey("the exported key is not base58 with a valid checksum") from error
    if len(payload) != 34 or payload[-1] != 1:
        raise BadKey("the exported key is not one of a compressed public key")
    if payload[0] != params.wif_prefix:
        raise BadKey(
            f"the exported key has version byte {payload[0]}, {params.key} uses {params.wif_prefix}"
        )
    return PrivateKey(payload[1:33])


def verify_signature(public: bytes, der: bytes, digest: bytes) -> bool:
    """Whether `der` is a strict low-S signature of `digest` under a 33 or 65 byte public key."""
    try:
        r, s = utils.decode_dss_signature(der)
        # Re-encoding refuses every sloppy DER form (BIP66).
        if s > ORDER // 2 or utils.encode_dss_signature(r, s) != der:
            return False
        key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256K1(), public)
        key.verify(der, digest, ec.ECDSA(_HASH))
    except (InvalidSignature, ValueError):
        return False
    return True


def legacy_sighash(tx: Tx, index: int, script_code: bytes) -> bytes:
    """Digest that a pre-segwit input signs with SIGHASH_ALL."""
    inputs = tuple(
        TxIn(txin.prevout, script_code if i == index else b"", txin.sequence)
        for i, txin in enumerate(tx.inputs)
    )
    bare = Tx(inputs, tx.outputs, tx.version, tx.locktime)
    return sha256d(bare.serialize(witness=False) + pack("<I", SIGHASH_ALL))


@dataclass(frozen=True, slots=True)
class Bip143Common:
    """The hashes that all segwit inputs of one transaction share (BIP143)."""

    prevouts: bytes
    sequences: bytes
    outputs: bytes

    @classmethod
    def of(cls, tx: Tx) -> "Bip143Common":
        """Computed once a transaction, so that signing stays linear in its inputs."""
        return cls(
            sha256d(b"".join(txin.prevout.serialize() for txin in tx.inputs)),
            sha256d(b"".join(pack("<I", txin.sequence) for txin in tx.inputs)),
            sha256d(b"".join(txout.serialize() for txout in tx.outputs)),
        )


def bip143_sighash(
    tx: Tx, index: int, script_code: bytes, value: int, common: Bip143Common | None = None
) -> bytes:
    """Digest that a version 0 witness input signs with SIGHASH_ALL (BIP143)."""
    shared = common or Bip143Common.of(tx)
    txin = tx.inputs[index]
    return sha256d(
        b"".join(
            (
                pack("<I", tx.version),
                shared.prevouts,
                shared.sequences,
                txin.prevout.serialize(),
                varint(len(script_code)),
                script_code,
                pack("<QI", value, txin.sequence),
                shared.outputs,
                pack("<II", tx.locktime, SIGHASH_ALL),
            )
        )
    )


def sign_input(
    tx: Tx, index: int, spent: TxOut, key: PrivateKey, common: Bip143Common | None = None
) -> Tx:
    """`tx` with input `index`, which spends `spent`, signed by `key`; raises SpendError."""
    txin = tx.inputs[index]
    if spent.script == key.p2pkh():
        digest = legacy_sighash(tx, index, spent.script)
        signature = key.sign(digest) + bytes((SIGHASH_ALL,))
        signed = replace(txin, script_sig=push(signature) + push(key.public), witness=())
    elif spent.script == key.p2wpkh():
        digest = bip143_sighash(tx, index, key.p2pkh(), spent.value, common)
        signature = key.sign(digest) + bytes((SIGHASH_ALL,))
        signed = replace(txin, script_sig=b"", witness=(signature, key.public))
    else:
        raise SpendError(f"input {index} spends a script that the key cannot sign for")
    return replace(tx, inputs=(*tx.inputs[:index], signed, *tx.inputs[index + 1 :]))


def sign_tx(tx: Tx, spent: Sequence[TxOut], keys: Sequence[PrivateKey]) -> Tx:
    """`tx` with every input signed; `spent` names the outputs in input order; raises SpendError."""
    by_script = {form: key for key in keys for form in (key.p2pkh(), key.p2wpkh())}
    common = Bip143Common.of(tx)
    for index, coin in enumerate(spent):
        key = by_script.get(coin.script)
        if key is None:
            raise SpendError(f"input {index} spends a script that no key can sign for")
        tx = sign_input(tx, index, coin, key, common)
    return tx


def input_fault(tx: Tx, index: int, spent: TxOut, common: Bip143Common | None = None) -> str | None:
    """Why input `index` may not spend `spent`, as a sentence, or None when it may."""
    segwit = is_p2wpkh(spent.script)
    if not segwit and not is_p2pkh(spent.script):
        return f"input {index} spends a script that is neither P2PKH nor P2WPKH"
    items = _unlocking_items(tx.inputs[index], segwit=segwit)
    if items is None:
        return f"input {index} must be unlocked by its {'witness' if segwit else 'scriptSig'} alone"
    if len(items) != 2:
        return f"input {index} needs a signature and a public key, got {len(items)} items"
    signature, public = items
    key_hash = spent.script[2:] if segwit else spent.script[3:23]
    if hash160(public) != key_hash:
        return f"input {index} shows a public key of another address"
    if segwit and len(public) != 33:
        return f"input {index} shows an uncompressed key in a witness"
    if signature[-1:] != bytes((SIGHASH_ALL,)):
        return f"input {index} uses a hash type other than SIGHASH_ALL"
    if segwit:
        digest = bip143_sighash(tx, index, p2pkh(key_hash), spent.value, common)
    else:
        digest = legacy_sighash(tx, index, spent.script)
    if not verify_signature(public, signature[:-1], digest):
        return f"input {index} has a wrong signature"
    return None


def verify_input(tx: Tx, index: int, spent: TxOut, common: Bip143Common | None = None) -> bool:
    """Whether input `index` of `tx` may spend `spent`; `input_fault` says why not."""
    return input_fault(tx, index, spent, common) is None


def _unlocking_items(txin: TxIn, *, segwit: bool) -> tuple[bytes, ...] | None:
    """What the input shows, or None when it shows it in the wrong place or by other opcodes."""
    if segwit:
        return None if txin.script_sig else txin.witness
    items = tuple(pushes(txin.script_sig))
    plain = b"".join(map(push, items)) == txin.script_sig
    return items if plain and not txin.witness else None
