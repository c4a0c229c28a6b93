"""Derivation of an answer's keys, hostile material refused: natively where it can be."""

from __future__ import annotations

from worker.errors import KeyMaterialError
from worker.native import IS_LOADED, extension
from worker.zerokms.derive import ClientKey, check_material, derive


def derive_checked(client_key: ClientKey, ivs: bytes, materials: bytes) -> bytearray:
    """
    Refuse hostile material, and derive what is honest: `check_material` and `derive` in one, natively where it can be.

    Arguments, result and errors as theirs.
    """
    if not IS_LOADED:
        check_material(client_key, ivs, materials)
        return derive(client_key, ivs, materials)
    parts = (client_key.p1, client_key.p2_from, client_key.p2_to, client_key.p3)
    try:
        return extension.ClientKey(*(p.tobytes() for p in parts)).derive(ivs, materials)
    except ValueError as exc:
        raise KeyMaterialError(str(exc)) from None
