"""What the tables of chat completions and of Responses both say, held of each by the same checks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs
import pytest
from dialect_tables import names, schemas, values, words
from hypothesis import strategies as st

from bedrock_gateway.errors import InvalidRequest

NOVA, NOVA_2, GPT, LLAMA, COHERE, ADAPTIVE = (
    *("us.amazon.nova-pro-v1:0", "us.amazon.nova-2-lite-v1:0", "openai.gpt-oss-120b-1:0"),
    *("us.meta.llama3-3-70b-instruct-v1:0", "cohere.command-r-v1:0", "us.anthropic.claude-opus-4-7"),
)
#: What LiteLLM's proxy takes for itself, asking for something.
PROXYS: dict[str, Any] = {
    **{"fallbacks": ["b"], "disable_fallbacks": True, "num_retries": 2, "timeout": 5, "request_timeout": 5},
    **{"cache": {"no-cache": True}, "caching": True, "mock_response": "a"},
    **{"additional_drop_params": ["a"], "allowed_openai_params": ["a"]},
}
PATHS = "additionalModelResponseFieldPaths"
KINDS = {"pdf": "application/pdf", "csv": "text/csv", "html": "text/html", "txt": "text/plain", "md": "text/markdown"}


@attrs.frozen(kw_only=True)
class Shared:
    """Checks that go by the names of their rows.

    Attributes:
        read: reads a request; converse: returns that of Converse for it.
        request: returns a request with a question, and other members.
        tool: returns a tool of the request for a function.
    """

    read: Callable[..., Any]
    converse: Callable[..., Any]
    request: Callable[..., dict[str, Any]]
    tool: Callable[[Mapping[str, Any]], dict[str, Any]]

    def one_tool(self, data: st.DataObject) -> None:
        tool = self.tool({"name": data.draw(names)})
        asked = self.request(tools=[tool], parallel_tool_calls=False)
        for choice, kind in (("auto", "auto"), ("required", "any"), (tool, "tool")):
            told = self.converse(asked | {"tool_choice": choice})["additionalModelRequestFields"]["tool_choice"]
            assert (kind, True, kind == "tool") == (told["type"], told["disable_parallel_tool_use"], "name" in told)
        other = self.converse(asked, model=data.draw(st.sampled_from([NOVA, LLAMA, GPT])))
        assert "additionalModelRequestFields" not in other

    def service_tier(self, data: st.DataObject) -> None:
        tier = data.draw(st.sampled_from(["auto", "default", "flex", "priority", "reserved"]))
        sent = self.converse(self.request(service_tier=tier))["serviceTier"]
        assert {"type": "default" if tier == "auto" else tier} == sent

    def as_they_are(self, data: st.DataObject) -> None:
        members = ("guardrailConfig", "performanceConfig", "requestMetadata", "promptVariables", "outputConfig")
        told: dict[str, Any] = {member: data.draw(schemas) for member in (*members, "serviceTier")}
        said = {name: {key: one for key, one in own.items() if one is not None} for name, own in told.items()}
        wanted: dict[str, Any] = {name: own for name, own in said.items() if own or not told[name]}
        wanted[PATHS] = told[PATHS] = data.draw(st.lists(words, max_size=2))
        sent = self.converse(self.request(**told))
        assert wanted == {member: sent[member] for member in told if member in sent}

    def others(self, data: st.DataObject) -> None:
        own = st.dictionaries(
            st.from_regex(r"own_[a-z]{1,5}", fullmatch=True), values.filter(lambda one: one is not None), max_size=3
        )
        one, other, third = (data.draw(own) for _ in "abc")
        sent = self.converse(self.request(**one, additionalModelRequestFields=other, extra_body=third))
        assert {**other, **third, **one} == sent.get("additionalModelRequestFields", {})

    def declared(self, data: st.DataObject) -> tuple[list[dict[str, Any]], list[Any]]:
        """Hold that functions are declared as they are told; return them, and how they are declared."""
        function = st.fixed_dictionaries(
            {"name": names, "parameters": schemas.filter(bool)},
            optional={"description": words, "strict": st.booleans()},
        )
        told = data.draw(st.lists(function, min_size=1, max_size=3))
        sent = self.converse(self.request(tools=[self.tool(one) for one in told]))["toolConfig"]["tools"]
        again = [
            {**{k: v for k, v in spec.items() if k != "inputSchema"}, "parameters": spec["inputSchema"]["json"]}
            for spec in (tool["toolSpec"] for tool in sent)
        ]
        assert [{k: v for k, v in one.items() if k != "strict"} for one in told] == again
        return told, sent

    def chosen(self, data: st.DataObject) -> dict[str, Any]:
        """Hold that the choice of a tool is passed on; return the tool."""
        tool = self.tool(one := {"name": data.draw(names)})
        for choice, wanted in (("auto", None), ("required", {"any": {}}), (tool, {"tool": one})):
            config = self.converse(self.request(tools=[tool], tool_choice=choice))["toolConfig"]
            assert wanted == config.get("toolChoice")
        assert "toolConfig" not in self.converse(self.request(tools=[tool], tool_choice="none"))
        return tool

    def none_chosen(self, used: dict[str, Any]) -> None:
        """Hold that a request whose history uses a tool cannot choose none."""
        with pytest.raises(InvalidRequest):
            self.read(used)
        assert "toolChoice" not in self.converse(used, drop_params=True)["toolConfig"]

    def forced(self, data: st.DataObject, member: str, form: Callable[[Any], Any], effort: dict[str, Any]) -> Any:
        """Hold that JSON is had by a tool, which is forced where nothing is against it; return the member's value.

        Args:
            member: asks for JSON; form: returns its value for a schema.
            effort: members that ask for reasoning.
        """
        schema, tool = data.draw(schemas), self.tool({"name": "look"})
        json_tool = {"tool": {"name": "json_tool_call"}}
        for more, choice in (
            ({}, json_tool),
            ({"tools": [tool]}, {"any": {}}),
            ({"tools": [tool], "tool_choice": "none"}, json_tool),
            ({"tools": [tool], "tool_choice": tool}, {"tool": {"name": "look"}}),
            ({"thinking": {"type": "adaptive"}}, None),
            (effort, None),
        ):
            config = self.converse(self.request(**{member: form(schema)}, **more))["toolConfig"]
            assert schema == config["tools"][-1]["toolSpec"]["inputSchema"]["json"]
            assert choice == config.get("toolChoice")
        return form(schema)

    def sampled(self, data: st.DataObject) -> dict[str, Any]:
        """Hold that temperature and topP are passed on; return a request that is too hot."""
        one, other = data.draw(st.floats(0, 1)), data.draw(st.floats(0, 1))
        sent = self.converse(self.request(temperature=one, top_p=other))["inferenceConfig"]
        assert {"temperature": one, "topP": other} == sent
        hot = self.request(temperature=data.draw(st.floats(1, 2, exclude_min=True)))
        with pytest.raises(InvalidRequest):
            self.read(hot)
        assert 1 == self.converse(hot, drop_params=True)["inferenceConfig"]["temperature"]
        return hot

    def guardrails(self, data: st.DataObject) -> None:
        """LiteLLM's guardrails are refused, whatever may be left out: nobody would keep them."""
        asked = self.request(guardrails=["pii"])
        with pytest.raises(InvalidRequest) as caught:
            self.read(asked, drop_params=data.draw(st.booleans()))
        assert "guardrails" == caught.value.param
        assert {"messages"} == self.converse(self.request(guardrails=[])).keys()

    def refused(self, data: st.DataObject, unsupported: Mapping[str, Any], idle: Mapping[str, Any]) -> None:
        """Hold that members that Bedrock has no place for are refused, all by name, or dropped where that is asked for.

        Args:
            unsupported: each with a value that asks for something; idle: some with one that asks for nothing.
        """
        chosen = data.draw(st.lists(st.sampled_from(sorted(unsupported)), min_size=1, unique=True))
        asked = self.request(**{member: unsupported[member] for member in chosen})
        with pytest.raises(InvalidRequest) as caught:
            self.read(asked)
        assert all(member in caught.value.message for member in chosen)
        assert caught.value.param in chosen
        assert {"messages"} == self.converse(asked, drop_params=True).keys()
        assert {"messages"} == self.converse(self.request(**idle)).keys()
