"""What mien is built from: the lock is current, an SBOM, and known vulnerabilities.

    pip install uv pip-audit
    python scripts/supply_chain.py [-o sbom.json] [--no-audit]

1. ``uv lock --check``: ``uv.lock``, which pins every version by hash for Python 3.11 and 3.12, fits pyproject.toml.
2. ``uv export``: an SBOM in CycloneDX 1.5 of mien with all extras, where -o asks for it.
3. ``pip-audit`` over the locked versions. A package that could not be looked up (no network, an index without the
   service) counts as a failure: "nothing found" would otherwise be said of what nobody searched.

Exit status 1 for a finding, or a package that could not be looked up; 2 where a tool is missing.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
EXPORT = ("uv", "export", "--frozen", "--all-extras", "--no-emit-project")


def run(*words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)


def findings(report: str) -> tuple[list[str], list[str]]:
    """pip-audit's JSON → known vulnerabilities, and packages that were not looked up, a line each."""
    known, skipped = [], []
    for package in json.loads(report)["dependencies"]:
        if "skip_reason" in package:
            skipped.append(f"{package['name']}: {package['skip_reason']}")
        for one in package.get("vulns", []):
            fixed = ", ".join(one["fix_versions"]) or "no version yet"
            known.append(f"{package['name']} {package['version']}: {one['id']}, fixed in {fixed}")
    return known, skipped


def audit() -> int:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "requirements.txt")
        if (export := run(*EXPORT, "--quiet", "--output-file", str(file))).returncode:
            print(f"error: uv export: {export.stderr.strip()}", file=sys.stderr)
            return 2
        done = run("pip-audit", "-r", str(file), "--disable-pip", "--require-hashes", "--format", "json")
    try:
        known, skipped = findings(done.stdout)
    except (ValueError, KeyError):
        print(f"error: pip-audit: {done.stderr.strip()[-500:]}", file=sys.stderr)
        return 2
    for line in known:
        print(f"vulnerable: {line}")
    if skipped:
        more = f" and {len(skipped) - 1} more" if len(skipped) > 1 else ""
        print(f"not looked up: {skipped[0]}{more}")
    if not known and not skipped:
        print("no known vulnerability")
    return int(bool(known or skipped))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--out", type=Path, metavar="SBOM.json")
    parser.add_argument("--no-audit", action="store_true", help="where there is no network")
    options = parser.parse_args()
    if missing := [tool for tool in ("uv", *([] if options.no_audit else ["pip-audit"])) if shutil.which(tool) is None]:
        print(f"error: expected {' and '.join(missing)} on PATH; run: pip install {' '.join(missing)}", file=sys.stderr)
        return 2
    if (check := run("uv", "lock", "--check")).returncode:
        print(f"uv.lock does not fit pyproject.toml; run: uv lock\n{check.stderr.strip()}", file=sys.stderr)
        return 1
    print("uv.lock is current")
    if options.out:
        sbom = run(*EXPORT[:-1], "--quiet", "--format", "cyclonedx1.5", "--preview-features", "sbom-export")
        if sbom.returncode:
            print(f"error: uv export: {sbom.stderr.strip()}", file=sys.stderr)
            return 2
        options.out.write_text(sbom.stdout, "utf-8")
        print(f"wrote {options.out}: {len(json.loads(sbom.stdout)['components'])} components")
    return 0 if options.no_audit else audit()


if __name__ == "__main__":
    sys.exit(main())
