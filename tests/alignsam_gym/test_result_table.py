import csv
import io
import json
from html.parser import HTMLParser

from rich.console import Console

from alignsam_gym.result_table import ResultTable, Strong

TABLE = ResultTable(
    ["prompting", "IoU <final>", "[red]"],
    [["agent", Strong("0.600", " ± 0.010"), 3], ["Ours & theirs", 0.1 + 0.2, "[bold]"]],
    "Of 2 runs.",
    quoted=(1,),
)


class Cells(HTMLParser):
    """The text of each row's cells, and the rows' attributes."""

    def __init__(self, text):
        super().__init__()
        self.rows, self.attributes, self.strong = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        if tag == "tr":
            self.rows.append([])
            self.attributes.append(dict(attrs))
        elif tag in ("th", "td"):
            self.rows[-1].append("")
        elif tag == "strong":
            self.strong.append(len(self.rows) - 1)

    def handle_data(self, data):
        if self.rows and self.rows[-1] and data.strip():
            self.rows[-1][-1] += data


def test_markdown_has_the_caption_above_the_table():
    assert TABLE.to_markdown().splitlines() == [
        "Of 2 runs.",
        "",
        "| prompting | IoU <final> | [red] |",
        "| --- | --- | --- |",
        "| agent | **0.600** ± 0.010 | 3 |",
        "| Ours & theirs | 0.30000000000000004 | [bold] |",
    ]
    assert ResultTable(["a"], [["1"]]).to_markdown() == "| a |\n| --- |\n| 1 |"


def test_a_pipe_in_a_markdown_cell_does_not_end_it():
    table = ResultTable(["a|b"], [["c|d"], [Strong("1", " | 2")]])
    assert table.to_markdown().splitlines() == [r"| a\|b |", "| --- |", r"| c\|d |", r"| **1** \| 2 |"]


def test_csv_reads_back():
    rows = list(csv.reader(io.StringIO(TABLE.to_csv())))
    assert rows == [list(TABLE.columns), ["agent", "0.600 ± 0.010", "3"], ["Ours & theirs", str(0.1 + 0.2), "[bold]"]]


def test_html_escapes_what_is_said_and_marks_what_is_quoted():
    text = TABLE.to_html()
    cells = Cells(text)
    assert cells.rows == list(csv.reader(io.StringIO(TABLE.to_csv())))
    assert cells.attributes == [{}, {}, {"class": "quoted"}]
    assert cells.strong == [1]
    assert "<caption>Of 2 runs.</caption>" in text


def test_many_columns_are_set_in_smaller_type():
    wide = ResultTable([str(i) for i in range(11)], [["1"] * 11])
    assert '<table class="many">' in wide.to_html()
    assert "many" not in TABLE.to_html()


def test_the_terminal_shows_every_cell_as_it_stands():
    console = Console(width=100, file=io.StringIO())
    console.print(TABLE.to_rich())
    shown = console.file.getvalue()
    for text in ("Of 2 runs.", "IoU <final>", "[red]", "0.600 ± 0.010", "[bold]"):
        assert text in shown


def test_a_table_survives_json():
    again = ResultTable.from_json(json.loads(json.dumps(TABLE.to_json())))
    assert again.to_html() == TABLE.to_html()
    assert again.to_markdown() == TABLE.to_markdown()
