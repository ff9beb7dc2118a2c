import pytest

from medssl.errors import SettingsError
from medssl.methods import dino, mae
from medssl.methods.parts.amount import Amount, fitting_momentum
from medssl.modalities import oct as oct_modality
from medssl.settings import Choice, flat, nested
from medssl.training.presets import Machine, chosen_by, resolve

CPU = Machine("cpu", 8e9, cores=2)
GPU = Machine("cuda", 80e9, cores=16, precision="bf16")


def asked(**values):
    return chosen_by({"modality": "oct", "method": "mae", **values}, "set by you")


def test_a_cpu_gets_a_small_network_and_small_images():
    found = resolve(asked(), CPU, 800, flops=1.3e8).settings
    assert (found.backbone, found.data.image_size, found.group("vit")["patch_size"]) == ("vit_nano", 64, 8)
    assert (found.train.batch_size, found.train.device, found.train.precision) == (64, "cpu", "fp32")
    assert 50 <= found.train.epochs <= 120


def test_a_gpu_gets_the_sizes_of_papers():
    found = resolve(asked(), GPU, 100_000).settings
    assert (found.backbone, found.data.image_size, found.group("vit")["patch_size"]) == ("vit_small", 224, 16)
    assert (found.train.batch_size, found.train.epochs, found.train.precision) == (256, 200, "bf16")
    small = resolve(asked(), Machine("cuda", 8e9, processes=2), 100_000).settings
    assert small.train.batch_size == 2 * 64


def test_later_layers_win_and_say_so(monkeypatch):
    monkeypatch.setattr(
        mae, "RECOMMENDS", {"mae.mask_ratio": Choice(0.6, "method"), "train.clip_norm": Choice(3.0, "method")}
    )
    monkeypatch.setitem(oct_modality.MODALITY.recommends, "mae.mask_ratio", Choice(0.85, "modality"))
    monkeypatch.setitem(oct_modality.MODALITY.recommends, "simclr.temperature", Choice(0.2, "modality"))
    found = resolve(asked(train={"batch_size": 24}), CPU, 800)
    assert found.choices["mae.decoder_width"].source == "default of mae"
    assert found.choices["train.clip_norm"] == (3.0, "method")
    assert found.choices["mae.mask_ratio"] == (0.85, "modality")
    assert "CPU" in found.choices["data.image_size"].source
    assert found.choices["train.batch_size"] == (24, "set by you")
    assert "simclr.temperature" not in found.choices
    assert found.settings.group("mae")["mask_ratio"] == 0.85
    assert (found.settings.train.clip_norm, found.settings.train.batch_size) == (3.0, 24)


def test_every_resolved_value_has_a_source():
    found = resolve(asked(), CPU, 800)
    values = {name for name in flat(found.settings.model_dump()) if name not in ("augment", "own_modality")}
    assert values <= set(found.choices)
    assert all(choice.source for choice in found.choices.values())


def test_a_method_of_cnns_gets_a_cnn_unless_another_is_named():
    for machine, preset, name in ((CPU, "auto", "resnet_nano"), (GPU, "auto", "resnet18"), (CPU, "none", "resnet18")):
        found = resolve(asked(method="spark"), machine, 800, preset=preset)
        assert found.settings.backbone == name
        assert found.choices["backbone"].source.startswith("SparK trains CNNs")
    assert resolve(asked(method="spark", backbone="resnet34"), CPU, 800).settings.backbone == "resnet34"
    assert resolve(asked(), CPU, 800).settings.backbone == "vit_nano"


def test_other_backbones_get_none_of_the_vits_settings():
    found = resolve(asked(method="simclr", backbone="resnet18"), CPU, 800)
    assert not any(name.startswith("vit.") for name in found.choices)
    assert found.settings.group("resnet")["block"] == "basic"


def test_short_runs_of_small_networks_get_a_higher_learning_rate_and_the_reason():
    short = resolve(asked(train={"epochs": 100}), CPU, 800)
    base = short.choices["train.base_learning_rate"]
    assert base.value * short.settings.train.batch_size / 256 == pytest.approx(1e-3)
    assert "too few for 0.00015" in base.source
    long = resolve(asked(train={"epochs": 400}), GPU, 200_000)
    assert long.settings.train.base_learning_rate == pytest.approx(1.5e-4)
    mine = resolve(asked(train={"base_learning_rate": 1e-2}), CPU, 800)
    assert mine.choices["train.base_learning_rate"] == (1e-2, "set by you")


def test_few_images_get_smaller_batches():
    sizes = [resolve(asked(), CPU, images).settings.train.batch_size for images in (5, 100, 300, 1000)]
    assert sizes == [8, 8, 32, 64]


def test_a_method_gets_the_steps_that_it_needs():
    found = resolve(asked(method="ijepa"), CPU, 800)
    assert found.settings.train.epochs == 250  # 12 steps each
    assert "3,000 steps" in found.choices["train.epochs"].source
    assert resolve(asked(method="ijepa", train={"epochs": 7}), CPU, 800).settings.train.epochs == 7
    assert resolve(asked(method="ijepa"), GPU, 200_000).settings.train.epochs == 100  # more than that anyway


def test_a_longer_step_means_fewer_epochs_on_a_cpu():
    light, heavy = (resolve(asked(), CPU, 800, flops=flops).settings.train.epochs for flops in (1e8, 4e8))
    assert light > heavy > 1


def test_without_preset_the_recommendations_stay():
    found = resolve(asked(), CPU, 800, preset="none")
    assert (found.settings.backbone, found.settings.train.epochs) == ("vit_small", 100)
    assert found.settings.group("mae")["mask_ratio"] == 0.85
    with pytest.raises(SettingsError, match=r"Unknown preset 'aut'.*Did you mean 'auto'"):
        resolve(asked(), CPU, 800, preset="aut")


def test_names_nest_and_flatten():
    assert nested("a.b.c", 1) == {"a": {"b": {"c": 1}}}
    assert flat({"a": {"b": {"c": 1}, "d": {}}, "e": 2}) == {"a.b.c": 1, "a.d": {}, "e": 2}


def test_a_file_of_values_stands_between_the_preset_and_what_was_set():
    values = {"like": "oct", "size": 48, "recommends": {"mae": {"mask_ratio": 0.5}, "simclr": {"temperature": 0.3}}}
    user = {name: choice for name, choice in asked().items() if name != "modality"}
    user |= chosen_by({"modality": "mine", "own_modality": values}, "set by you")
    found = resolve(user, CPU, 800)
    assert found.settings.data.image_size == 48
    assert found.settings.group("mae")["mask_ratio"] == 0.5
    assert "mine" in found.choices["data.image_size"].source
    assert found.settings.own_modality == values
    user |= chosen_by({"data": {"image_size": 96}}, "set by you")
    assert resolve(user, CPU, 800).settings.data.image_size == 96


@pytest.mark.parametrize(("name", "word"), [("mea.mask_ratio", "mae"), ("mae.mask_rato", "mae.mask_ratio")])
def test_what_a_file_of_values_recommends_has_to_exist(name, word):
    user = {key: choice for key, choice in asked().items() if key != "modality"}
    group, _, setting = name.partition(".")
    values = {"like": "oct", "recommends": {group: {setting: 0.5}}}
    user |= chosen_by({"modality": "mine", "own_modality": values}, "set by you")
    with pytest.raises(SettingsError, match=f"Did you mean '{word}'"):
        resolve(user, CPU, 800)


def test_positives_of_a_patient_are_recommended_where_patients_are_known():
    user = chosen_by({"modality": "dermatology", "method": "simclr"}, "set by you")
    known, unknown = (
        resolve(user, CPU, 800, patients_known=known).choices["simclr.positives"] for known in (True, False)
    )
    assert (known.value, unknown.value) == ("patient", "image")
    assert "MICLe" in known.source
    mine = user | chosen_by({"simclr": {"positives": "image"}}, "set by you")
    assert resolve(mine, CPU, 800, patients_known=True).settings.group("simclr")["positives"] == "image"


def test_another_optimizer_gets_its_own_learning_rate_and_decay():
    def choices(method, optimizer, **more):
        return resolve(asked(method=method, train={"optimizer": optimizer, **more}), CPU, 800).choices

    lars = choices("byol", "lars")
    assert lars["train.base_learning_rate"] == (0.2, "the paper, for LARS")
    assert lars["train.weight_decay"].value == 1.5e-6
    assert choices("dino", "sgd")["train.final_weight_decay"].value is None
    assert choices("mae", "lamb")["train.base_learning_rate"].value == 6.25e-4
    assert choices("mae", "lars", base_learning_rate=1.0)["train.base_learning_rate"].value == 1.0
    assert "peak" in choices("mae", "adamw")["train.base_learning_rate"].source
    with pytest.raises(SettingsError, match=r"train\.optimizer"):
        choices("mae", "adam")


def test_a_momentum_remembers_the_papers_images_but_not_more_than_a_share_of_the_run():
    large = fitting_momentum(Amount(1_000_000, 512, 100, 195_000), 0.996, 1024)
    assert large.value == pytest.approx(0.996**0.5, abs=1e-6)
    assert fitting_momentum(Amount(1_000_000, 4096, 100, 195_000), 0.996, 1024).value == pytest.approx(
        0.996**4, abs=1e-6
    )
    short = fitting_momentum(Amount(600, 64, 40, 400), 0.996, 1024)
    assert 1 / (1 - short.value) == pytest.approx(80)
    assert "20 % of 400 steps" in short.source
    assert fitting_momentum(Amount(60, 8, 4, 30), 0.996, 1024).value == pytest.approx(0.9)


@pytest.mark.parametrize(
    ("images", "prototypes"), [(20, 64), (600, 128), (5000, 1024), (100_000, 16_384), (9**9, 65_536)]
)
def test_few_images_get_few_prototypes(images, prototypes):
    choice = dino.fitted(Amount(images, 64, 10, 1000))["dino.prototypes"]
    assert choice.value == prototypes
    assert str(images) in choice.source


@pytest.mark.parametrize("method", ["byol", "dino", "ijepa"])
def test_images_and_device_decide_momentum_and_what_the_method_derives(method):
    def choice(machine, images, **train):
        return resolve(asked(method=method, train=train), machine, images, flops=1e8).choices

    small, large = choice(CPU, 800), choice(GPU, 200_000)
    assert small[f"{method}.momentum"].value < large[f"{method}.momentum"].value
    assert "arXiv 2307.13813" in large[f"{method}.momentum"].source
    halved = choice(GPU, 200_000, batch_size=128)
    assert halved[f"{method}.momentum"].value > large[f"{method}.momentum"].value
    plain = resolve(asked(method=method), CPU, 800, preset="none").choices
    assert plain[f"{method}.momentum"].source == f"default of {method}"
    mine = resolve(asked(method=method, **{method: {"momentum": 0.5}}), CPU, 800).choices
    assert mine[f"{method}.momentum"] == (0.5, "set by you")


def test_dino_warms_up_for_a_tenth_as_its_paper_and_others_for_a_twentieth():
    shares = {
        m: resolve(asked(method=m, train={"epochs": 100}), CPU, 800).settings.train.warmup_epochs
        for m in ("dino", "byol")
    }
    assert shares == {"dino": 10, "byol": 5}
