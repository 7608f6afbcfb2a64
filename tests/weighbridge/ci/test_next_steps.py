"""What to do next: a waiver that is ready to be signed is accepted as it is printed."""

import pytest
import yaml

from tests.documents import gate_verdict
from tests.gate.evidence import budget, comparison, measurement
from tests.gate.verdict.test_waivers import CHANGE, TEST_SET, TODAY, gate
from weighbridge.ci.held_back import held_back
from weighbridge.ci.next_steps import next_steps
from weighbridge.core.documents import Absent, GateVerdict, PolicyChange, Verdict
from weighbridge.gate.verdict.judge import judge
from weighbridge.gate.verdict.waivers import FiledWaiver, Terms, Waiver
from weighbridge.gate.verdict.waiving import apply_waivers


def stanzas(verdict: GateVerdict) -> list[FiledWaiver]:
    """The waivers that the section has, as files."""
    found = next_steps(verdict, TODAY)[1]
    return [FiledWaiver(f"waivers/{n}.yaml", Waiver.model_validate(yaml.safe_load(x))) for n, x in enumerate(found)]


@pytest.mark.parametrize("ratio", [1.1234567, 1.3, 2.0, 31.4159])
def test_a_ready_waiver_for_a_failed_budget_is_accepted_as_it_stands(ratio: float) -> None:
    """Its limit is the end of the measured interval, rounded to the side that accepts it."""
    verdict = gate(ratio)
    assert verdict.verdict is Verdict.FAIL
    assert apply_waivers(verdict, stanzas(verdict), [], TODAY).verdict is Verdict.PASS


@pytest.mark.parametrize("change", [CHANGE, TEST_SET])
def test_a_ready_waiver_for_a_change_of_policy_is_accepted_as_it_stands(change: PolicyChange) -> None:
    """Exactly what changed, to exactly what."""
    verdict = gate(0.8).model_copy(update={"policy_changes": [change]})
    ready = stanzas(verdict)
    [found] = apply_waivers(verdict, ready, [change], TODAY, Terms()).policy_changes
    assert not found.blocks


def test_the_recipe_that_passed_is_named_first() -> None:
    """It needs nobody's signature; and what is held back is said on its line."""
    good, bad = gate(0.8).recipes["int8"], gate(1.5).recipes["int8"]
    both = {"int8": bad, "fp16": good.model_copy(update={"recipe": "fp16"})}
    verdict = gate_verdict(both, Verdict.FAIL, device="ci")
    first = "".join(span if isinstance(span, str) else span.text for span in next_steps(verdict, TODAY)[0][0])
    assert first == "take fp16 instead, which passed as it is; or "
    [note] = held_back(verdict, "params.yaml", 3)
    assert "fp16 passed and int8 did not: nothing of" in note.message
    assert held_back(gate(0.8), "params.yaml", 3) == []


def test_a_pass_has_nothing_to_do_and_an_error_no_waiver() -> None:
    """What could not be measured cannot be accepted."""
    assert next_steps(gate(0.8), TODAY) == ([], [])
    found = measurement(comparison(latency_p50=Absent(reason="the counter is not readable")), recipe="int8")
    missing = judge(found, [budget("latency.p50", max_ratio=0.9)])
    assert missing.verdict is Verdict.ERROR
    verdict = gate_verdict({"int8": missing}, missing.verdict, device="ci")
    assert next_steps(verdict, TODAY) == ([["read why it could not be measured, below", "."]], [])
