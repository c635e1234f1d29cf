#!/usr/bin/env python3
"""Writes `written-by-python-tuf` with python-tuf (pip install tuf cryptography): every kind of key, thresholds, a rotated root,
a delegated role and succinct bins. The keys are thrown away, so every run writes other bytes."""

import hashlib
import os
import shutil
from datetime import datetime, timezone

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import (
    DelegatedRole, Delegations, Metadata, MetaFile, Root, Snapshot, SuccinctRoles, TargetFile, Targets, Timestamp,
)

HERE = os.path.dirname(os.path.abspath(__file__))
OUT = os.path.join(HERE, "written-by-python-tuf")
EXPIRES = datetime(2035, 1, 1, tzinfo=timezone.utc)


def target(path: str, content: bytes) -> TargetFile:
    return TargetFile.from_data(path, content, ["sha256", "sha512"])


def write(name: str, metadata: Metadata) -> bytes:
    data = metadata.to_bytes()
    with open(os.path.join(OUT, name), "wb") as file:
        file.write(data)
    return data


def main() -> None:
    shutil.rmtree(OUT, ignore_errors=True)
    os.makedirs(OUT)
    ed, ecdsa, rsa = CryptoSigner.generate_ed25519(), CryptoSigner.generate_ecdsa(), CryptoSigner.generate_rsa()
    new_root = CryptoSigner.generate_ecdsa()
    team, bins = CryptoSigner.generate_rsa(), CryptoSigner.generate_ecdsa()

    root = Metadata(Root(expires=EXPIRES))
    for role, keys in [("root", [ed, ecdsa]), ("targets", [rsa]), ("snapshot", [ecdsa]), ("timestamp", [ed])]:
        for signer in keys:
            root.signed.add_key(signer.public_key, role)
    root.signed.roles["root"].threshold = 2
    root.sign(ed)
    root.sign(ecdsa, append=True)
    write("1.root.json", root)
    root.signed.version = 2
    root.signed.revoke_key(ed.public_key.keyid, "root")
    root.signed.add_key(new_root.public_key, "root")
    root.sign(ed)
    root.sign(ecdsa, append=True)
    root.sign(new_root, append=True)
    write("2.root.json", root)

    succinct = SuccinctRoles([], 1, 4, "bin")
    team_role = Metadata(Targets(expires=EXPIRES))
    team_role.signed.targets["lib/team:1"] = target("lib/team:1", b"team")
    team_role.signed.delegations = Delegations({}, succinct_roles=succinct)
    team_role.signed.add_key(bins.public_key)
    team_role.sign(team)

    targets = Metadata(Targets(expires=EXPIRES))
    targets.signed.targets["lib/top:1"] = target("lib/top:1", b"top")
    role = DelegatedRole("team/one", [], 1, False, paths=["lib/*"])
    targets.signed.delegations = Delegations({}, roles={"team/one": role})
    targets.signed.add_key(team.public_key, "team/one")
    targets.sign(rsa)

    meta = {}

    def listed(name: str, file: str, metadata: Metadata) -> None:
        data = write(file, metadata)
        meta[name] = MetaFile(1, len(data), {"sha256": hashlib.sha256(data).hexdigest()})

    listed("targets.json", "1.targets.json", targets)
    listed("team/one.json", "1.team%2Fone.json", team_role)
    for name in succinct.get_roles():
        bin_role = Metadata(Targets(expires=EXPIRES))
        for number in range(20):
            path = f"lib/binned:{number}"
            if succinct.get_role_for_target(path) == name:
                bin_role.signed.targets[path] = target(path, f"binned {number}".encode())
        bin_role.sign(bins)
        listed(f"{name}.json", f"1.{name}.json", bin_role)

    snapshot = Metadata(Snapshot(expires=EXPIRES, meta=meta))
    snapshot.sign(ecdsa)
    data = write("1.snapshot.json", snapshot)
    timestamp = Metadata(Timestamp(expires=EXPIRES))
    timestamp.signed.snapshot_meta = MetaFile(1, len(data), {"sha256": hashlib.sha256(data).hexdigest()})
    timestamp.sign(ed)
    write("timestamp.json", timestamp)


main()
