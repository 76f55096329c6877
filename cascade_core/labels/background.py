"""The background policy: the label of pixels that belong to none of the named classes."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from cascade_core.errors import UserError
from cascade_core.runtime.validation import first_error

Policy = Literal["dropped", "threshold", "prompts"]


class Background(BaseModel):
    """The policy by which evaluation and prediction identify background; `inference/background.py` applies it.

    - "dropped", as published: no pixel is background.
    - "threshold": a pixel is background if every class scores below `threshold`.
    - "prompts": a pixel is background if one of `names`, such as sky and wall, scores higher than every class;
      with a `threshold` too, also if all of them score below it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    policy: Policy = "dropped"
    threshold: float | None = Field(default=None, ge=0, le=1)
    names: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _check_policy(self) -> Self:
        needed, possible = self.policy == "threshold", self.policy != "dropped"
        if not (needed <= (self.threshold is not None) <= possible):
            raise UserError(
                f"threshold={self.threshold} does not go with policy={self.policy!r}: "
                "policy 'threshold' needs one, such as 0.3, 'prompts' may have one, the others take none"
            )
        if bool(self.names) != (self.policy == "prompts"):
            raise UserError(
                f"names={list(self.names)} do not go with policy={self.policy!r}: "
                "policy 'prompts' needs at least one, such as sky, the others take none"
            )
        if any(not name.strip() for name in self.names) or len(set(self.names)) != len(self.names):
            raise UserError(f"names={list(self.names)}: every name is given once, and none is empty")
        return self

    def __str__(self) -> str:
        match self.policy:
            case "threshold":
                return f"threshold {self.threshold:g}"
            case "prompts":
                prompts = f"prompts {', '.join(self.names)}"
                return prompts if self.threshold is None else f"threshold {self.threshold:g}, {prompts}"
            case "dropped":
                return self.policy


DROPPED = Background()


def parse_background(text: str) -> Background:
    """Parse a policy from the command line: `dropped`, `threshold=0.3` or `prompts=sky, wall`.

    Policy "prompts" with a threshold is `threshold=0.3,prompts=sky, wall`.

    Raises:
        UserError: the text has another form, or a threshold or name is invalid.
    """
    policy, _, value = text.partition("=")
    content: dict[str, object] = {"policy": policy.strip()}
    threshold, _, rest = value.partition(",")
    if content["policy"] == "threshold" and rest.strip().startswith("prompts="):
        content = {"policy": "prompts", "threshold": threshold.strip()}
        value = rest.partition("=")[2]
    if content["policy"] == "prompts":
        content["names"] = [name.strip() for name in value.split(",")] if value.strip() else []
    elif value.strip():
        content["threshold"] = value.strip()
    try:
        return Background.model_validate(content)
    except ValidationError as error:
        raise UserError(
            f"background {text!r}: {first_error(error)}; allowed are dropped, threshold=0.3, "
            "prompts=sky,wall or threshold=0.3,prompts=sky,wall"
        ) from error
