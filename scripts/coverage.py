"""Writes docs/operations.md: what each operation of the table takes, and which cases check it.

Run it from the root of the repository, after a change of an operation or of a case: ``python scripts/coverage.py``.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "operations.md"

sys.path.insert(0, str(ROOT))

from tests.cases.operations import Case, all_cases  # noqa: E402

from moka.formats.dtypes import BY_NAME  # noqa: E402
from moka.ops.table import OPSETS, OperationRecord, lookup, records  # noqa: E402

HEAD = """# Operations

Written by `scripts/coverage.py` from the table of operations (`moka.ops`) and from its cases (`tests/cases`); don't edit it.

{names} operations in {versions} versions, checked by {cases} cases: those of ML Programs and, named `nn_`, those that layers of neural
networks need beside them. A version holds from its opset on until the next one: {opsets}.
Types are those that a type variable of the operation's signature may stand for; "any" is for operations without one.
Each case runs as a program in fp32 and in fp16, with its inputs computed and constant, and in the numerics of a device; *cases* counts
those that run the version's kernel, be it for another opset.

| operation | since | what it gives | types | cases | limits |
|---|---|---|---|---:|---|
"""


def types(record: OperationRecord) -> str:
    """``T: fp16, fp32; U: int32``, types in the order of the table of element types."""
    order = list(BY_NAME)
    domains = {name: sorted(map(str, domain), key=order.index) for name, domain in sorted(record.domains.items())}
    return "; ".join(f"{name}: {', '.join(members)}" for name, members in domains.items()) or "any"


def limits(record: OperationRecord, cases: list[Case]) -> str:
    """What does not work, or not always, and why."""
    unknown = sorted({case.meta for case in cases if case.meta and case.operation == record.name})
    found = [f"shapes need data: {reason}" for reason in unknown]
    if not record.folds:
        found.append("never computed ahead")
    return "; ".join(found)


def sentence(record: OperationRecord) -> str:
    """The first sentence of the documentation, as a table takes it; what is code stays as it is."""
    parts = " ".join(record.doc.split("\n\n")[0].split()).replace("``", "`").replace("|", "\\|").split("`")
    return "`".join(part if index % 2 else part.replace("*", "\\*") for index, part in enumerate(parts))


def page() -> str:
    """The whole page."""
    table = records()
    cases = all_cases()
    by_kernel: dict[int, list[Case]] = defaultdict(list)
    for case in cases:
        for name in case.operations & table.keys():
            by_kernel[id(lookup(name, case.opset).kernel)].append(case)
    rows = [
        f"| {record.name} | {record.opset} | {sentence(record)} | {types(record)} | {len(checks)} | {limits(record, checks)} |"
        for versions in table.values()
        for record in versions
        for checks in [by_kernel[id(record.kernel)]]
    ]
    opsets = ", ".join(f"{name} ({stated})" for name, stated in OPSETS.items())
    return HEAD.format(names=len(table), versions=len(rows), cases=len(cases), opsets=opsets) + "\n".join(rows) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(f"{PAGE.relative_to(ROOT)}: {len(records())} operations")
