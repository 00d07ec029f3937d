import pytest

from load_tests.bench.speech.engines import FASTER, OPENAI, OURS8, OURS32, TRANSFORMERS
from load_tests.bench.speech.judge import judge
from load_tests.bench.speech.measure import Hour, Row, check, sounds
from load_tests.bench.speech.shapes import make_model, openai_names
from serving.contract.errors import SluiceError


def rows(**seconds: float) -> list[Row]:
    names = {"ours8": OURS8, "ours32": OURS32, "openai": OPENAI, "hf": TRANSFORMERS, "faster": FASTER}
    return [Row(names[name], "tiny", 1, value) for name, value in seconds.items()]


def test_promises_hold_where_ours_is_ahead_and_near_faster_whisper() -> None:
    found = judge(rows(ours8=1.0, ours32=2.0, openai=3.0, hf=0.9, faster=0.85), Hour(3600, 70, 60, 9000, 500))
    assert [target.met for target in found] == [True, False, True, None, True, None]
    assert found[4].value == pytest.approx(1.0)


def test_a_peer_that_is_not_installed_is_left_out() -> None:
    names = [target.name for target in judge(rows(ours8=1.0, ours32=2.0, hf=3.0), None)]
    assert len(names) == 2
    assert not any("faster" in name or "openai" in name for name in names)


def test_engines_that_wrote_less_make_no_figures() -> None:
    check("one", [[1] * 100, [2] * 99], 2, 100)
    for found in ([[1] * 100], [[1] * 100, [2] * 50]):
        with pytest.raises(SluiceError, match="no fair figures"):
            check("one", found, 2, 100)


def test_weights_get_the_names_of_openai_whisper() -> None:
    names = {
        "model.encoder.layers.1.self_attn.q_proj.weight": "encoder.blocks.1.attn.query.weight",
        "model.encoder.layer_norm.bias": "encoder.ln_post.bias",
        "model.decoder.layers.0.encoder_attn_layer_norm.bias": "decoder.blocks.0.cross_attn_ln.bias",
        "model.decoder.layers.0.final_layer_norm.weight": "decoder.blocks.0.mlp_ln.weight",
        "model.decoder.embed_tokens.weight": "decoder.token_embedding.weight",
        "model.encoder.embed_positions.weight": "encoder.positional_embedding",
        "model.encoder.conv1.weight": "encoder.conv1.weight",
    }
    assert openai_names(dict.fromkeys([*names, "proj_out.weight"])) == dict.fromkeys(names.values())


def test_sounds_repeat_themselves_and_unknown_shapes_are_named(tmp_path_factory: pytest.TempPathFactory) -> None:
    assert (sounds(1)[0] == sounds(2)[0]).all()
    assert sounds(1)[0].shape == (480_000,)
    with pytest.raises(SluiceError, match="'huge': no shape of Whisper; known are tiny, base, small"):
        make_model("huge", tmp_path_factory.mktemp("m"))
