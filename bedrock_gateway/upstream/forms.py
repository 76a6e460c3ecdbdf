"""What AWS says of model forms whose id does not tell their model: asked once, kept while the gateway runs.

A call waits for it only where its model has never been looked up; calls that want the same wait for one answer. What
AWS refuses to tell is asked again after a while, and told to the log once. Knows no routing table: who is told of
something new makes one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping

import attrs

from bedrock_gateway.errors import ControlPlaneError
from bedrock_gateway.routing.deployments import Deployment
from bedrock_gateway.routing.forms import Form, FormKey, Known, form_of, key_of, question, read_answer
from bedrock_gateway.upstream.control_plane import ControlPlane

__all__ = ["Forms"]

_LOG = logging.getLogger("bedrock_gateway.deployments")

#: Seconds after which what AWS refused to tell is asked again.
ASK_AGAIN = 300.0
#: The same for what may come back soon.
ASK_SOON = 10.0
#: Ids kept; raw ids make new ones without end. Past it all are forgotten.
MAX_KNOWN = 4096


@attrs.define(eq=False)
class Forms:
    """Looks up model forms.

    Attributes:
        known: what is known, by ``routing.forms.key_of``; replaced, never changed.
        on_change: told whenever something new is known.
    """

    _control: ControlPlane
    known: Mapping[FormKey, Known] = attrs.field(factory=dict, init=False)
    on_change: Callable[[], None] = attrs.field(default=lambda: None, init=False)
    _troubles: dict[FormKey, tuple[str, float]] = attrs.field(factory=dict, init=False)
    _asking: dict[FormKey, asyncio.Task[None]] = attrs.field(factory=dict, init=False)

    async def look_up(self, deployments: Iterable[Deployment]) -> bool:
        """Look up what is not known of these deployments, and wait for it; tell whether anything new is known now.

        What was refused a short while ago is not asked again.
        """
        before = self.known
        loop = asyncio.get_running_loop()
        tasks = []
        for deployment in deployments:
            form, key = form_of(deployment), key_of(deployment)
            if form is None or key in self.known or not deployment.region:
                continue
            trouble = self._troubles.get(key)
            if trouble is not None and loop.time() < trouble[1]:
                continue
            task = self._asking.get(key)
            if task is None:
                task = self._asking[key] = asyncio.create_task(self._ask(deployment, form), name=f"look up {form}")
            tasks.append(task)
        if tasks:
            # A caller that leaves takes nothing from the others.
            await asyncio.shield(asyncio.gather(*tasks))
        return self.known is not before

    def trouble_of(self, deployment: Deployment) -> str:
        """Return why a deployment's form is not known, or ""."""
        return self._troubles.get(key_of(deployment), ("", 0.0))[0]

    async def aclose(self) -> None:
        """Stop every question under way."""
        tasks = list(self._asking.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _ask(self, deployment: Deployment, form: Form) -> None:
        key = key_of(deployment)
        try:
            known = await self._answer(deployment, form)
        except (ControlPlaneError, ValueError) as error:
            kind = error.kind if isinstance(error, ControlPlaneError) else "unreadable"
            pause = ASK_SOON if kind in ("throttled", "unreached", "credentials") else ASK_AGAIN
            if len(self._troubles) >= MAX_KNOWN:
                self._troubles.clear()
            text = f"{error}. Until it is known, give base_model in model_info" + (
                " and model_id with its ARN" if form is Form.PROVISIONED and not key[0].startswith("arn:") else ""
            )
            if self._troubles.get(key, ("", 0.0))[0] != text:
                _LOG.warning("the model behind the %s of deployment %s is not known: %s", form, deployment.name, text)
            self._troubles[key] = text, asyncio.get_running_loop().time() + pause
        else:
            self._troubles.pop(key, None)
            self.known = {key: known} if len(self.known) >= MAX_KNOWN else {**self.known, key: known}
            self.on_change()
        finally:
            self._asking.pop(key, None)

    async def _answer(self, deployment: Deployment, form: Form) -> Known:
        """Ask about a deployment's model id, and about what the answer leads to.

        Raises:
            ControlPlaneError, ValueError: it is not told.
        """
        model_id = deployment.model_id
        while True:
            asked = question(model_id, form)
            answer = await self._control.ask(deployment, asked.operation, asked.labels, asked.query)
            found = read_answer(model_id, form, answer)
            if isinstance(found, Known):
                return attrs.evolve(found, arn=found.arn if form is Form.PROVISIONED else deployment.model_id)
            model_id, form = found
