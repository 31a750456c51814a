import io

from rich.console import Console

from src.data.check.expected import Counts
from src.data.check.findings import Finding, Report, Side
from src.figures.data_report import print_report


def shown(report: Report) -> str:
    out = io.StringIO()
    print_report(report, "check.json", Console(file=out))
    return out.getvalue()


def test_the_report_shows_sizes_and_the_first_of_each_finding():
    sides = [
        Side("cars", "train", Counts(1_200, 30, 4), Counts(1_200, 31)),
        Side("cars", "query", Counts(70, 8, 0), None),
    ]
    findings = [
        Finding(
            "missing_files",
            True,
            "5 of 9 listed files are missing: unpack [them].",
            [f"/x/[{n}].jpg" for n in range(5)],
        ),
        Finding("unlisted_images", False, "1 images are in no list.", ["/x/y.jpg"]),
    ]
    text = shown(Report("cars", sides, findings))
    for part in (
        *("1,200", "30 of 31", "70"),
        "Problem: 5 of 9 listed files are missing: unpack [them].\n  /x/[0].jpg\n  /x/[1].jpg\n  /x/[2].jpg\n",
        "  and 2 more, see check.json\n",
        "Warning: 1 images are in no list.\n  /x/y.jpg\n",
        "There are problems.",
    ):
        assert part in text
    assert "1,200 of" not in text
    assert "No problems." in shown(Report("cars", sides, findings[1:]))
