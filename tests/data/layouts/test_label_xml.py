import pytest

from src.data.layouts.label_xml import item_number, read_items
from src.data.table import DataError

ITEM = '<Item imageName="000001.jpg" vehicleID="0012" cameraID="c003" typeID="x"/>\r\n'


@pytest.mark.parametrize("encoding", ["gb2312", "utf-8", "utf-8-sig"])
def test_reads_what_python_refuses(tmp_path, encoding):
    head = f'<?xml version="1.0" encoding="{encoding.removesuffix("-sig")}"?>\r\n'
    path = tmp_path / "label.xml"
    path.write_bytes(f'{head}<A Version="1.0"><Items number="-">{ITEM}</Items></A>\r\n'.encode(encoding))
    (item,) = read_items(path, "tiny")
    assert item == {"imageName": "000001.jpg", "vehicleID": "0012", "cameraID": "c003", "typeID": "x"}
    assert [item_number(path, "tiny", item, name) for name in ("vehicleID", "cameraID")] == [12, 3]
    with pytest.raises(DataError, match=r"typeID of 000001\.jpg is 'x', expected a number"):
        item_number(path, "tiny", item, "typeID")
    with pytest.raises(DataError, match=r"colorID of 000001\.jpg is None, expected a number"):
        item_number(path, "tiny", item, "colorID")


def test_wrong_files_are_named(tmp_path):
    path = tmp_path / "label.xml"
    with pytest.raises(DataError, match=r"the label file .*label\.xml is missing"):
        read_items(path, "tiny")
    path.write_text(f"<A>{ITEM}{ITEM.replace('imageName', 'name')}</A>")
    with pytest.raises(DataError, match=r"1 of 2 items of .*label\.xml have no imageName"):
        read_items(path, "tiny")
    path.write_text(f"<A>{ITEM}")
    with pytest.raises(DataError, match=r"label\.xml is no label file \(no element found"):
        read_items(path, "tiny")
