"""Content credentials (C2PA): what a signed note in the file says of where it came from. Read offline, by c2pa-python.

A good note can be missing from any real file and can be removed from any fake, so it is told to people and no verdict
looks at it.
"""

import json
import os
import pathlib
from typing import Any

# a file must not make the reader fetch what it names
OFFLINE = {"verify": {"remote_manifest_fetch": False, "ocsp_fetch": False}}
UNTRUSTED = "signingCredential.untrusted"  # of every signer: there is no list of trusted ones here


def of_file(path: str | pathlib.Path) -> dict[str, str]:
    """What the active manifest says, name -> text; under `Content credentials` whether there is one and it holds."""
    try:
        import c2pa
    except ImportError:
        return {"Content credentials": "not looked for; pip install 'dfjax[credentials]'"}
    try:
        settings = c2pa.Settings.from_dict(OFFLINE)
        with c2pa.Reader(os.path.abspath(path), context=c2pa.Context(settings)) as reader:
            return told(json.loads(reader.json()))
    except c2pa.C2paError as error:
        kind = type(error).__name__
        missing = kind.endswith(("ManifestNotFound", "NotSupported"))
        return {"Content credentials": "none (C2PA)" if missing else f"cannot be read (C2PA): {error}"}


def told(store: dict[str, Any]) -> dict[str, str]:
    """A manifest store, as the reader gives it, in words."""
    manifest = store["manifests"][store["active_manifest"]]
    failures = [each["code"] for each in store.get("validation_status") or [] if each["code"] != UNTRUSTED]
    holds = f"BROKEN: {', '.join(failures)}" if failures else "the signature holds and the content is as it was signed"
    signed = manifest.get("signature_info") or {}
    actions = [
        " ".join(filter(None, (action.get("action"), action.get("digitalSourceType", "").rpartition("/")[2])))
        for assertion in manifest.get("assertions") or []
        if assertion["label"].startswith("c2pa.actions")
        for action in assertion["data"].get("actions", [])
    ]
    found = {
        "Content credentials": f"{holds} (C2PA)",
        "Signed by": f"{signed.get('common_name')}, {signed.get('issuer')}; nobody checked who that is",
        "Signed at": signed.get("time"),
        "Made by": ", ".join(each.get("name", "") for each in manifest.get("claim_generator_info") or []),
        "Actions": "; ".join(actions),
    }
    return {name: value for name, value in found.items() if value}
