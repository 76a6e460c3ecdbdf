"""Names to deployments."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from bedrock_gateway.errors import UnknownModel
from bedrock_gateway.routing.deployments import CredentialSource, Deployment
from bedrock_gateway.routing.resolutions import Resolution, Via
from bedrock_gateway.routing.table import Alias, RoutingTable

NOVA = "us.amazon.nova-pro-v1:0"
LITE = "amazon.nova-lite-v1:0"
ARN = "arn:aws:bedrock:eu-west-1:111122223333:application-inference-profile/abc"

PLAIN = Deployment(
    id="x",
    name="x",
    model_group="g",
    model_id=NOVA,
    price_model=NOVA,
    region="us-east-1",
    credentials=CredentialSource(),
)
AMBIENT = attrs.evolve(PLAIN, id="ambient", name="ambient", model_group="", model_id="", price_model="")


def make(name: str, group: str = "g", **more: Any) -> Deployment:
    """Make a deployment."""
    return attrs.evolve(PLAIN, id=name, name=name, model_group=group, **more)


def table(*deployments: Deployment, ambient: Deployment = AMBIENT, **more: Any) -> RoutingTable:
    """Build a table."""
    return RoutingTable.build(deployments=deployments, ambient={"bedrock-runtime": ambient, "bedrock": ambient}, **more)


def names(resolution: Resolution) -> list[list[str]]:
    """Return the names of the candidates, tier by tier."""
    return [[deployment.name for deployment in tier] for tier in resolution.candidates]


def refusal(routes: RoutingTable, name: str, **more: Any) -> str:
    """Return the text with which a name is refused."""
    with pytest.raises(UnknownModel) as caught:
        routes.resolve(name, **more)
    return caught.value.message


def test_a_group_is_its_deployments_by_order() -> None:
    """Deployments of one order make a tier; the lowest order comes first, 0 is one like any other."""
    found = table(
        make("a", order=1), make("b", order=-1), make("c", order=1), make("d", "other"), make("e", order=0)
    ).resolve("g")

    assert ("g", Via.GROUP, [["b"], ["e"], ["a", "c"]]) == (found.model_group, found.via, names(found))


def test_without_an_order_comes_last() -> None:
    """Where one of a group has an order, those without one are for when all that have one are out; where none has one,
    all are alike.
    """
    routes = table(make("a"), make("b", order=7), make("c"), make("d", order=2), make("e", "plain"), make("f", "plain"))

    assert [["d"], ["b"], ["a", "c"]] == names(routes.resolve("g"))
    assert [["e", "f"]] == names(routes.resolve("plain"))


def test_a_group_is_resolved_once() -> None:
    """A configured name is looked up and not worked out: the same value comes each time."""
    routes = table(make("a"))

    assert routes.resolve("g") is routes.resolve("g")
    assert routes.resolve(LITE) is routes.resolve(LITE)


def test_aliases() -> None:
    """A name for a group, a list in its order, balance, and aliases of aliases in any order of the file."""
    routes = table(
        make("a1", "a", order=1),
        make("a0", "a"),
        make("b0", "b"),
        make("b5", "b", order=5),
        make("c0", "c"),
        aliases=(
            Alias(name="later", targets=("one",)),
            Alias(name="one", targets=("a",)),
            Alias(name="two", targets=("b", "a", "b")),
            Alias(name="all", targets=("a", "b", "c", "one"), balance=True),
            Alias(name="hidden", targets=("a",), hidden=True),
            Alias(name="raw", targets=(LITE,)),
            Alias(name="mixed", targets=("a", LITE)),
        ),
    )

    found = {
        name: (routes.resolve(name).model_group, names(routes.resolve(name)))
        for name in ("later", "one", "two", "all", "hidden", "raw", "mixed")
    }
    assert {
        "later": ("a", [["a1"], ["a0"]]),
        "one": ("a", [["a1"], ["a0"]]),
        "two": ("two", [["b5"], ["b0"], ["a1"], ["a0"]]),
        "all": ("all", [["a1", "b5", "c0"], ["a0", "b0"]]),
        "hidden": ("a", [["a1"], ["a0"]]),
        "raw": ("raw", [["ambient"]]),
        "mixed": ("mixed", [["a1"], ["a0"], ["ambient"]]),
    } == found
    assert ["a", "b", "c", "one", "later", "two", "all", "raw", "mixed"] == list(routes.names())
    assert {Via.ALIAS} == {routes.resolve(name).via for name in found}


def test_an_alias_of_a_group_that_is_not_served_says_so() -> None:
    """The reason of the group is that of its alias."""
    routes = table(
        make("a"),
        unserved={"gpt": "its provider is 'openai' and not bedrock"},
        aliases=(Alias(name="smart", targets=("gpt",)),),
    )

    assert "Model group 'gpt' is not served here: its provider is 'openai' and not bedrock." == refusal(routes, "gpt")
    assert "Model group 'smart' is not served here: its provider is 'openai' and not bedrock." == refusal(
        routes, "smart"
    )


def test_circles_do_not_hang() -> None:
    """Aliases that were not checked before still end."""
    routes = table(
        aliases=(Alias(name="a", targets=("b",)), Alias(name="b", targets=("a",)), Alias(name="c", targets=("c",)))
    )

    assert "Model group 'a' is not served here: none of its targets can be called." == refusal(routes, "a")


def test_a_raw_id_that_a_deployment_names_goes_there() -> None:
    """The id of configured deployments is another name of those, and of no others of their group."""
    found = table(make("a"), make("b", model_id=LITE), make("c"), make("d", "other")).resolve(NOVA)

    assert ("g", Via.DEPLOYMENT, [["a", "c"]]) == (found.model_group, found.via, names(found))


def test_a_group_named_like_an_id_is_a_group() -> None:
    """A group's name wins over a deployment's model id."""
    routes = table(make("a"), make("b", NOVA, model_id=LITE))

    assert [["b"]] == names(routes.resolve(NOVA))


def test_a_raw_id_nothing_names_goes_to_the_ambient_deployment() -> None:
    """The ambient deployment is made for the id: id, price and an identity of its own."""
    routes = table(make("a"))
    (tier,) = routes.resolve(LITE).candidates
    (found,) = tier

    assert ("", Via.RAW) == (routes.resolve(LITE).model_group, routes.resolve(LITE).via)
    assert ("ambient", LITE, LITE, "us-east-1") == (found.name, found.model_id, found.price_model, found.region)
    assert 3 == len({found.id, "ambient", routes.resolve("cohere.rerank-v3-5:0").deployments()[0].id})


def test_an_arn_is_called_in_its_own_region() -> None:
    """The region of an ARN wins over the ambient one; provisioned throughput is flat; a profile's id is the price's."""
    routes = table()
    (profile,) = routes.resolve(ARN).deployments()
    (flat,) = routes.resolve("arn:aws:bedrock:us-west-2:1:provisioned-model/abc").deployments()
    (system,) = routes.resolve(f"arn:aws:bedrock:us-west-2:1:inference-profile/{NOVA}").deployments()

    assert ("eu-west-1", ARN, ARN, False) == (profile.region, profile.model_id, profile.price_model, profile.flat)
    assert ("us-west-2", True) == (flat.region, flat.flat)
    assert NOVA == system.price_model


@pytest.mark.parametrize(
    "name",
    [
        "arn:aws:bedrock:evil-host:1:imported-model/x",
        "arn:aws:bedrock:-:1:imported-model/x",
        "arn:aws:bedrock:127:1:imported-model/x",
    ],
)
def test_an_arn_with_an_odd_region_is_refused(name: str) -> None:
    """Nothing that a caller sends gets into a host name."""
    assert "The ARN names no AWS region." == refusal(table(), name)


def test_regions_of_arns_can_be_limited() -> None:
    """With allowed regions, an ARN of another is refused, through a wildcard too."""
    routes = table(make("w", "*", model_id="*"), allowed_regions=("us-east-1",))

    assert "Region eu-west-1 of the ARN is not among the regions this gateway may use." == refusal(routes, ARN)
    assert [["w"]] == names(routes.resolve("arn:aws:bedrock:us-east-1:1:imported-model/x"))


def test_without_an_ambient_region_raw_ids_say_what_is_missing() -> None:
    """A raw id needs a region, an ARN brings its own."""
    routes = table(make("a"), ambient=attrs.evolve(AMBIENT, region=""))

    assert refusal(routes, LITE).startswith("No AWS region is configured for what model_list does not name.")
    assert "eu-west-1" == routes.resolve(ARN).deployments()[0].region
    with pytest.raises(UnknownModel, match="No AWS region"):
        routes.ambient("bedrock")


def test_the_ambient_deployment_of_a_service() -> None:
    """Operations without a model go to the ambient deployment of their service."""
    control = attrs.evolve(AMBIENT, name="ambient-bedrock")
    routes = RoutingTable.build(ambient={"bedrock-runtime": AMBIENT, "bedrock": control})

    assert ("ambient", "ambient-bedrock") == (routes.ambient().name, routes.ambient("bedrock").name)


@pytest.mark.parametrize(
    ("group", "model_id", "asked", "expected"),
    [
        ("*", "*", LITE, LITE),
        ("*", "*", f"bedrock/{LITE}", LITE),
        ("*", "*", ARN, ARN),
        ("bedrock/*", "*", LITE, LITE),
        ("bedrock/*", "*", f"bedrock/{LITE}", LITE),
        ("nova-*", "amazon.nova-*", "nova-lite-v1:0", LITE),
        ("*/nova-*", "amazon.*.nova-*", "x1/nova-y", "amazon.x1.nova-y"),
        ("any-*", NOVA, "any-thing", NOVA),
    ],
)
def test_wildcards(group: str, model_id: str, asked: str, expected: str) -> None:
    """What a star stands for in the name is put into the model id."""
    routes = table(make("w", group, model_id=model_id, price_model=model_id, weight=3))
    found = routes.resolve(asked)
    (deployment,) = found.deployments()

    assert (group, Via.WILDCARD, expected, expected, 3) == (
        found.model_group,
        found.via,
        deployment.model_id,
        deployment.price_model,
        deployment.weight,
    )
    assert () == tuple(name for name in routes.names() if "*" in name)


def test_the_most_particular_wildcard_wins_and_exact_names_win_over_all() -> None:
    """Group, then deployment's id, then the wildcard with the longest text."""
    routes = table(
        make("all", "*", model_id="*"),
        make("bedrock", "bedrock/*", model_id="*"),
        make("nova", "amazon.nova-*", model_id="amazon.nova-*"),
        make("exact", "group"),
        make("group", "amazon.nova-group", model_id="amazon.nova-premier-v1:0"),
    )

    assert [["nova"]] == names(routes.resolve(LITE))
    assert [["bedrock"]] == names(routes.resolve("cohere.rerank-v3-5:0"))
    assert [["exact"]] == names(routes.resolve(NOVA))
    assert [["exact"]] == names(routes.resolve(f"bedrock/{NOVA}"))
    assert [["group"]] == names(routes.resolve("amazon.nova-group"))


def test_a_wildcard_does_not_make_a_model_of_a_typing_error() -> None:
    """A star does not send what cannot be Bedrock's to AWS: the nearest name is told instead."""
    routes = table(make("w", "*", model_id="*"), make("a", "claude"))

    assert "There is no model group 'cluade', and it is no Bedrock model id or ARN. Nearest: claude." == refusal(
        routes, "cluade"
    )


def test_a_wildcard_of_another_provider_says_so() -> None:
    """A name under openai/* is refused with the reason."""
    routes = table(make("a"), unserved={"openai/*": "its provider is 'openai' and not bedrock"})

    assert "Model 'openai/gpt-4' is not served here: its provider is 'openai' and not bedrock." == refusal(
        routes, "openai/gpt-4"
    )


def test_deployments_of_a_wildcard_share_its_id() -> None:
    """Whichever model is called, it is the entry's deployment: its limits and its budget are the entry's."""
    routes = table(make("mine", "a-*", model_id="*", model_info={"id": "mine"}), make("w", "bedrock/*", model_id="*"))
    first, second = (routes.resolve(name).deployments()[0].id for name in (LITE, "cohere.rerank-v3-5:0"))

    assert "mine" == routes.resolve("a-amazon.nova-lite-v1:0").deployments()[0].id
    assert "w" == first == second


def test_suggestions_are_those_the_caller_may_see() -> None:
    """A refusal tells no names that the caller could not use."""
    routes = table(make("a", "claude-secret"), make("b", "claude-public"))

    assert "Nearest: claude-public." in refusal(routes, "claude-publik", may_see=lambda name: name == "claude-public")
    assert "Nearest" not in refusal(routes, "claude-secrets", may_see=lambda name: name == "claude-public")


def test_what_the_caller_sent_is_repeated_short() -> None:
    """A name of megabytes does not come back whole, and costs no long comparison."""
    routes = table(*(make(f"d{number}", f"group-{number}") for number in range(5000)))

    assert len(refusal(routes, "x" * 100_000)) < 300
    assert "Nearest: group-4999" in refusal(table(make("a", "group-4999")), "group-499")


@pytest.mark.parametrize("name", ["", "*", "bedrock/", "bedrock/*", "\0", "../x", "arn:", "\ud800"])
def test_odd_names_are_refused(name: str) -> None:
    """Whatever a path may hold, it is refused and does not crash."""
    assert refusal(table(make("a")), name)


def test_listings() -> None:
    """names() lists what may be asked for, group_names() every group with those not served."""
    routes = table(make("a", "b"), make("w", "*", model_id="*"), make("c", "a"), unserved={"gpt": "no"})

    assert ("b", "a") == routes.names()
    assert ("b", "*", "a", "gpt") == routes.group_names()
    assert {"gpt": "no"} == routes.unserved()
