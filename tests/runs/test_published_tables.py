import re
from collections import defaultdict
from decimal import Decimal
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from src.runs.finished import flatten
from src.runs.published_tables import is_of, names, read_table, tables_of_sweep
from src.runtime.command import CONF_DIR
from src.runtime.errors import ConfigError

#: Configurations that between them have every setting of a method's rows.
CONFIGURATIONS = {
    None: [("method=bot",)],
    "src.methods.attribute_guided.AttributeGuided": [("method=attribute_guided",)],
    "src.methods.bot.BoT": [
        ("method=bot",),
        ("method=bot_mdl", "data=cityflow_vehiclex", "stages=mdl_mined"),
        ("method=bot_mdl", "stages=pretrain"),
    ],
    "src.methods.dndm.DNDM": [("method=dndm",)],
    "src.methods.dfr_st.DFRST": [("method=dfr_st",)],
    "src.methods.transreid.TransReID": [("method=transreid",)],
    "src.methods.vehiclenet.VehicleNet": [("method=vehiclenet",), ("method=vehiclenet", "stages=pool_then_target")],
}


@pytest.mark.parametrize("name", names())
def test_a_table_is_whole_and_its_settings_exist(composed, name):
    table = read_table(name)
    wanted = defaultdict(set)
    assert table.title
    assert table.source
    assert len({row.name for row in table.rows}) == len(table.rows)
    for row in table.rows:
        for result in row.results:
            assert tuple(result.numbers) == table.measures
            numbers = [number for number in result.numbers.values() if number is not None]
            assert all(0 < number < 1 for number in numbers)
            ranks = [result.numbers[measure] for measure in table.measures if measure[1:].isdigit()]
            ranks = [rank for rank in ranks if rank is not None]
            assert ranks == sorted(ranks)
        if table.swept and row.when:  # other people's rows have no settings
            assert set(table.swept) <= set(row.when)
        wanted[row.when.get("method._target_")] |= set(row.when)
    for method, keys in wanted.items():
        known = [flatten(OmegaConf.to_container(composed(*one), resolve=True)) for one in CONFIGURATIONS[method]]
        assert keys <= set().union(*known)
    printed = [row.when for row in table.rows if row.when]
    assert all(printed.count(when) == 1 for when in printed)


def test_numbers_keep_the_digits_of_the_paper():
    omega = read_table("dfr_st_table_xi").rows[2].results[0]
    assert (omega.data, omega.task) == ("veri776", "image_to_track")
    assert [str(number) for number in omega.numbers.values()] == ["0.8600", "0.9567", "0.9917"]
    best = read_table("dndm_table2").rows[-1]
    assert best.name == "DNDM"
    assert best.results[3].numbers == {"R1": Decimal("0.495"), "R5": Decimal("0.955"), "mAP": Decimal("0.400")}
    hpgn = next(row for row in read_table("dfr_st_table_v").rows if row.name == "HPGN")
    assert hpgn.results[2].numbers == {"mAP": Decimal("0.8360"), "R1": Decimal("0.7732"), "R5": None}
    assert read_table("bot_mdl_table7").rows[0].results[0].numbers["mAP"] == Decimal("0.7322")
    assert (read_table("dndm_table2").digits, read_table("dfr_st_table_ii").digits) == (3, 4)


def test_every_row_of_dndms_tables_that_this_project_has_is_an_experiment_on_each_of_its_data_sets(composed):
    names = [
        file.stem for pattern in ("dndm_*", "bot_dn*") for file in Path(CONF_DIR, "experiment").glob(f"{pattern}.yaml")
    ]
    composed_ones = [OmegaConf.to_container(composed(f"experiment={name}"), resolve=True) for name in names]
    settings = [flatten(one) for one in composed_ones]
    for table in map(read_table, ("dndm_table2", "dndm_table3", "dndm_table4")):
        for row in table.rows:
            for data in {result.data for result in row.results} if row.when else ():
                assert any(is_of(row, one) and one["data.name"] == data for one in settings), (
                    table.name,
                    row.name,
                    data,
                )


@pytest.mark.parametrize(
    ("sweep", "table"),
    [
        ("alpha", "dndm_fig4_alpha"),
        ("beta", "dndm_fig4_beta"),
        ("lambda", "dfr_st_table_x"),
        ("omega", "dfr_st_table_xi"),
        ("attention", "dfr_st_table_ix"),
        ("branches", "dfr_st_table_viii"),
        ("spatio_temporal", "dfr_st_table_iv"),
        ("sampling", "vehiclenet_table_viii"),
    ],
)
def test_a_sweep_runs_the_values_of_its_table(sweep, table):
    said = OmegaConf.load(f"{CONF_DIR}/sweep/{sweep}.yaml").hydra.sweeper.params
    ((key, values),) = said.items()
    read = [OmegaConf.create(f"x: {value}").x for value in re.split(r",(?![^\[]*\])", str(values))]
    assert read_table(table).swept == (key,)
    assert read == [row.when[key] for row in read_table(table).rows if row.when]


@pytest.mark.parametrize(
    ("experiment", "table", "expected"),
    [
        ("bot_dn348", "dndm_table2", ["BOT"]),
        ("bot_dn_wild", "dndm_table2", ["BOT"]),
        ("dndm_dn348", "dndm_table2", ["DNDM"]),
        ("dndm_dn_wild", "dndm_table2", ["DNDM"]),
        ("dndm_dn348 method.awareness_at_test=mean", "dndm_table2", []),
        ("dndm_dn_wild_baseline", "dndm_table2", ["Baseline"]),
        ("dndm_dn348_baseline", "dndm_table2", ["Baseline"]),
        ("dndm_dn348_baseline", "dndm_table3", ["none"]),
        ("dndm_dn348_ngs", "dndm_table3", ["NGS"]),
        ("dndm_dn348_dse", "dndm_table3", ["DSE"]),
        ("dndm_dn348_cca", "dndm_table3", ["CCA"]),
        ("dndm_dn348_ngs_dse", "dndm_table3", ["NGS + DSE"]),
        ("dndm_dn348", "dndm_table3", ["NGS + DSE + CCA"]),
        ("dndm_dn348_baseline", "dndm_table4", ["Baseline"]),
        ("dndm_dn348", "dndm_table4", ["+ stage (1+2+3+4)"]),
        ("dndm_dn348_stage_1", "dndm_table4", ["+ stage 1"]),
        ("dndm_dn348_stages_1_to_2", "dndm_table4", ["+ stage (1+2)"]),
        ("dndm_dn348_stages_1_to_3", "dndm_table4", ["+ stage (1+2+3)"]),
        ("dndm_dn348_ngs", "dndm_table4", []),
        ("dndm_dn348", "dndm_fig4_alpha", ["0.5"]),
        ("dndm_dn348", "dndm_fig4_beta", ["0.25"]),
        ("dfr_st_veri776", "dfr_st_table_ii", ["DFR-ST"]),
        ("dfr_st_veri776_baseline", "dfr_st_table_iii", ["Baseline"]),
        ("dfr_st_veri776_coarse", "dfr_st_table_iii", ["xc"]),
        ("dfr_st_veri776_whole", "dfr_st_table_iii", ["xc + xf1"]),
        ("dfr_st_veri776", "dfr_st_table_iii", ["xc + xf1 + xfdiv + ST"]),
        ("dfr_st_veri776", "dfr_st_table_iv", ["DFR-ST w/o ST + ST"]),
        ("dfr_st_veri776 retrieval.steps=[spatio_temporal_relation]", "dfr_st_table_iv", ["DFR-ST w/o ST + STR"]),
        ("dfr_st_vehicleid", "dfr_st_table_v", ["DFR-ST w/o ST"]),
        ("vehiclenet_cityflow", "vehiclenet_table_ii", ["CityFlow"]),
        ("vehiclenet_cityflow_veri776", "vehiclenet_table_ii", ["CityFlow + VeRi-776"]),
        ("vehiclenet_cityflow_compcars", "vehiclenet_table_ii", ["CityFlow + CompCars"]),
        ("vehiclenet_cityflow_vehicleid", "vehiclenet_table_ii", ["CityFlow + VehicleID"]),
        ("vehiclenet_cityflow_all", "vehiclenet_table_ii", ["VehicleNet"]),
        ("vehiclenet_veri776_stage_1", "vehiclenet_table_iii", ["VehicleNet, Stage-I (ResNet-50)"]),
        ("vehiclenet_veri776", "vehiclenet_table_iii", ["VehicleNet, Stage-II (ResNet-50)"]),
        ("vehiclenet_vehicleid", "vehiclenet_table_iii", ["VehicleNet, Stage-II (ResNet-50)"]),
        ("vehiclenet_vehicleid_stage_1", "vehiclenet_table_iii", ["VehicleNet, Stage-I (ResNet-50)"]),
        ("vehiclenet_cityflow_compcars", "vehiclenet_table_vii", ["SE-ResNeXt101"]),
        ("dfr_st_veri776", "dfr_st_table_x", []),  # with the spatio-temporal term
        ("bot_mdl_cityflow_holdout", "bot_mdl_table1", ["BoT-BS"]),
        ("bot_mdl_cityflow_holdout retrieval=image_reranking", "bot_mdl_table1", ["BoT-BS + RR"]),
        ("bot_mdl_cityflow_holdout retrieval=af_trr", "bot_mdl_table1", ["BoT-BS + AF-TRR"]),
        ("bot_mdl_cityflow_holdout retrieval=wf_trr", "bot_mdl_table1", ["BoT-BS + WF-TRR"]),
        ("bot_mdl_cityflow_holdout", "bot_mdl_table2", ["BoT-BS"]),
        ("bot_mdl_cityflow_holdout_solution_1", "bot_mdl_table2", ["Solution-1"]),
        ("bot_mdl_cityflow_holdout_solution_2", "bot_mdl_table2", ["Solution-2"]),
        ("bot_mdl_cityflow_holdout_mdl", "bot_mdl_table2", ["BoT-BS + MDL (100 IDs)"]),
        ("bot_mdl_cityflow_holdout_mined", "bot_mdl_table2", []),
        ("bot_mdl_cityflow retrieval=wf_trr", "bot_mdl_table3", ["BoT-BS + WF-TRR"]),
        ("bot_mdl_cityflow_mdl retrieval=wf_trr", "bot_mdl_table3", ["BoT-BS + WF-TRR + MDL"]),
        ("bot_mdl_cityflow_mdl retrieval=wf_trr", "bot_mdl_table4", ["BoT-BS + MDL"]),
        ("bot_mdl_cityflow_mined retrieval=wf_trr", "bot_mdl_table4", ["BoT-BS + MDL + IM"]),
        ("bot_mdl_cityflow retrieval=wf_trr", "bot_mdl_table5", ["WF-TRR"]),
        ("bot_mdl_cityflow_mined retrieval=wf_trr", "bot_mdl_table5", ["WF-TRR + MDL + IM"]),
    ],
)
def test_an_experiment_is_of_its_row(composed, experiment, table, expected):
    settings = flatten(OmegaConf.to_container(composed(*f"experiment={experiment}".split()), resolve=True))
    assert [row.name for row in read_table(table).rows if is_of(row, settings)] == expected


def test_a_sweep_over_backbones_runs_the_rows_of_its_table(composed):
    said = OmegaConf.load(f"{CONF_DIR}/sweep/backbones.yaml").hydra.sweeper.params.backbone
    runs = [composed("experiment=vehiclenet_cityflow_compcars", f"backbone={name}") for name in said.split(",")]
    table = read_table("vehiclenet_table_vii")
    settings = [flatten(OmegaConf.to_container(run, resolve=True)) for run in runs]
    assert [[row.name for row in table.rows if is_of(row, one)] for one in settings] == [[r.name] for r in table.rows]


def test_a_sweep_finds_the_table_in_which_more_of_its_runs_are():
    method = {"method._target_": "src.methods.dndm.DNDM", "method.glare": True}
    every = [1, 2, 3, 4]

    def run(structure, awareness, **more):
        return method | {"method.structure_stages": structure, "method.awareness_stages": awareness} | more

    def found(runs, *varying):
        return [table.name for table in tables_of_sweep(runs, [f"method.{key}" for key in varying])]

    stages = [run([1], [1]), run([1, 2], [1, 2]), run(every, every)]
    assert found(stages, "structure_stages", "awareness_stages") == ["dndm_table4"]
    without = run([], []) | {"method.glare": False}
    assert found([*stages, without], "glare", "structure_stages", "awareness_stages") == ["dndm_table4"]
    modules = [run([], []), run(every, []), run(every, every), without]
    assert found(modules, "glare", "structure_stages", "awareness_stages") == ["dndm_table3"]
    grid = [run(every, every, **{"method.alpha": a, "method.beta": b}) for a in (0.2, 0.5) for b in (0.1, 0.25)]
    assert found(grid, "alpha", "beta") == ["dndm_fig4_alpha", "dndm_fig4_beta"]
    assert found([{"method._target_": "src.methods.dndm.Other"}], "alpha") == []
    assert found(grid, "margin") == []


def test_a_wrong_name_lists_all():
    with pytest.raises(ConfigError, match=r"No published table 'dndm_2'; pass table=<one of .*dndm_table2.*>"):
        read_table("dndm_2")
