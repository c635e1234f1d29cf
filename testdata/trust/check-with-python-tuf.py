#!/usr/bin/env python3
"""Runs python-tuf (pip install tuf cryptography) over these folders: what it trusts and refuses must be what `case.json` says,
but for the differences listed here. Exits with 1 where it is not."""

import datetime
import json
import os
import shutil
import sys
import tempfile

from tuf.api.exceptions import DownloadHTTPError
from tuf.ngclient import FetcherInterface, Updater

HERE = os.path.dirname(os.path.abspath(__file__))
NOW = datetime.datetime(2030, 1, 1, tzinfo=datetime.timezone.utc)

# What python-tuf does otherwise, and why we do not.
DIFFERENT = {
    "diamond-with-other-keys": "not-found",  # verifies a shared role for its first delegator only
    "duplicate-json-key": "ok",  # takes the last of two equal keys
    "fast-forward-recovered": "refused",  # forgets snapshot only when timestamp's key is rotated, not the other way round
    "one-key-under-two-ids": "ok",  # counts key ids, not keys
}


class Folder(FetcherInterface):
    """Serves the files of one folder."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def _fetch(self, url: str):
        path = os.path.join(self.folder, url.rsplit("/", 1)[1])
        if not os.path.exists(path):
            raise DownloadHTTPError("not found", 404)
        with open(path, "rb") as file:
            yield file.read()


def outcome(root: str, served: str, trusted: str, target: str) -> str:
    with tempfile.TemporaryDirectory() as state:
        if os.path.isdir(trusted):
            for name in os.listdir(trusted):
                shutil.copy(os.path.join(trusted, name), state)
        bootstrap = None
        if not os.path.exists(os.path.join(state, "root.json")):
            with open(root, "rb") as file:
                bootstrap = file.read()
        try:
            updater = Updater(
                state, "http://x/metadata/", state, "http://x/targets/", fetcher=Folder(served), bootstrap=bootstrap
            )
            updater._trusted_set.reference_time = NOW
            updater.refresh()
            return "ok" if updater.get_targetinfo(target) else "not-found"
        except Exception as error:  # whatever it is, the update ended
            print(f"    {type(error).__name__}: {str(error)[:100]}")
            return "refused"


def main() -> int:
    wrong = 0
    for name in sorted(os.listdir(HERE)):
        folder = os.path.join(HERE, name)
        if name == "published":
            case, root, served = {"find": "shop/web:1.0", "expect": "ok"}, "1.root.json", folder
        elif os.path.exists(os.path.join(folder, "case.json")):
            with open(os.path.join(folder, "case.json"), encoding="utf-8") as file:
                case = json.load(file)
            root, served = "pinned.root.json", os.path.join(folder, "served")
        else:
            continue
        found = outcome(os.path.join(folder, root), served, os.path.join(folder, "trusted"), case["find"])
        expected = case["expect"] if case["expect"] in ("ok", "not-found") else "refused"
        expected = DIFFERENT.get(name, expected)
        print(f"{'as expected' if found == expected else 'DIFFERENT'}: {name}: {found}")
        wrong += found != expected
    return 1 if wrong else 0


sys.exit(main())
