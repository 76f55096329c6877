"""What becomes of pixels that show none of the named classes: a setting of evaluation and prediction."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from cascade_core.errors import UserError
from cascade_core.runtime.validation import first_error

Policy = Literal["dropped", "threshold", "prompts"]


class Background(BaseModel):
    """How pixels of no named class are told; `inference/background.py` has the exact rules.

    "dropped", as published: nothing is called background. "threshold": what no class scores at least
    `threshold` for. "prompts": what one of `names`, such as sky and wall, scores higher for than every class.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    policy: Policy = "dropped"
    threshold: float | None = Field(default=None, ge=0, le=1)
    names: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _check_policy(self) -> Self:
        if (self.threshold is not None) != (self.policy == "threshold"):
            raise UserError(
                f"threshold={self.threshold} does not go with policy={self.policy!r}: "
                "policy 'threshold' needs one, such as 0.3, the others take none"
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
                return f"prompts {', '.join(self.names)}"
            case "dropped":
                return self.policy


DROPPED = Background()


def parse_background(text: str) -> Background:
    """Read `dropped`, `threshold=0.3` or `prompts=sky, wall`, as a command line gives it.

    Raises:
        UserError: it is none of these, or a number or name in it cannot be.
    """
    policy, _, value = text.partition("=")
    content: dict[str, object] = {"policy": policy.strip()}
    match content["policy"]:
        case "threshold":
            content["threshold"] = value.strip() or None
        case "prompts":
            content["names"] = [name.strip() for name in value.split(",")] if value.strip() else []
        case _ if value:
            content["threshold"] = value
    try:
        return Background.model_validate(content)
    except ValidationError as error:
        raise UserError(
            f"background {text!r}: {first_error(error)}; allowed are dropped, threshold=0.3 or prompts=sky,wall"
        ) from error
