"""Published sizes of the data sets."""

from typing import NamedTuple


class Counts(NamedTuple):
    """Sizes of one side of a data set; None where its authors do not say.

    Attributes:
        images: Number of images.
        vehicles: Number of vehicles.
        cameras: Number of cameras.
        day: Number of images of the day.
        night: Number of images of the night.
    """

    images: int | None = None
    vehicles: int | None = None
    cameras: int | None = None
    day: int | None = None
    night: int | None = None


#: Side (train, query or gallery) → sizes.
Edition = dict[str, Counts]


def _vehicle_id(vehicles: int, images: int | None = None) -> tuple[Edition]:
    test = Counts(images, vehicles)
    return ({"train": Counts(113_346, 13_164), "query": test, "gallery": test},)


def _veri_wild(vehicles: int, gallery: int | None = None) -> tuple[Edition]:
    query, train = Counts(vehicles, vehicles), Counts(277_797, 30_671)
    return ({"train": train, "query": query, "gallery": Counts(gallery, vehicles)},)


_DN_348_TEST = Counts(14_093, 148, day=10_121, night=3_972)

#: `name` of a data set → its editions, with the sizes that the papers and README files of the authors give.
EXPECTED: dict[str, tuple[Edition, ...]] = {
    "veri776": ({"train": Counts(37_778, 576, 20), "query": Counts(1_678, 200, 19), "gallery": Counts(11_579, 200)},),
    "dn_348": (
        {
            "train": Counts(19_984, 200, day=9_962, night=10_022),
            "query": _DN_348_TEST,
            "gallery": _DN_348_TEST,
        },
    ),
    "dn_wild": (
        {
            "train": Counts(106_365, 1_574, day=70_981, night=35_384),
            "query": Counts(5_227, day=2_617, night=2_610),
            "gallery": Counts(34_532, 712, day=14_964, night=19_568),
        },
    ),
    "vehicleid_800": _vehicle_id(800, 6_493),
    "vehicleid_1600": _vehicle_id(1_600, 13_377),
    "vehicleid_2400": _vehicle_id(2_400, 19_777),
    "vehicleid_3200": _vehicle_id(3_200),
    "vehicleid_6000": _vehicle_id(6_000),
    "vehicleid_13164": _vehicle_id(13_164, 108_221),
    "veri_wild_3000": _veri_wild(3_000),
    "veri_wild_5000": _veri_wild(5_000),
    "veri_wild_10000": _veri_wild(10_000, 128_517),
    "cityflow": (
        {"train": Counts(36_935, 333, 36), "query": Counts(1_052), "gallery": Counts(18_290)},  # 2020
        {"train": Counts(52_717, 440), "query": Counts(1_103), "gallery": Counts(31_238)},  # 2021
    ),
    "vehiclex": ({"train": Counts(192_150, 1_362)},),
    "compcars": ({"train": Counts(136_713, 4_701)},),
}
