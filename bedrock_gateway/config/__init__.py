"""Config: YAML text and an environment to frozen settings; faults with file, line and column.

::

    document     YAML text to nodes with their place             (the only importer of ruamel.yaml here)
    reading      nodes to typed values; references to the environment
    keys         which keys there are, and what each is to this version
    credentials  credentials, region and endpoint of a deployment
    surroundings what the environment says of them
    entries      model_list to deployments
    names        which names lead somewhere
    aliases      model_group_alias
    fallbacks    fallbacks and the like
    routing      what of router_settings chooses among deployments, and general_settings.queue, to rules
    added        models given over the API, as JSON, to deployments
    services     general_settings.services to ambient deployments
    alerting     general_settings.alerting to webhooks
    settings     the rest of router_settings, general_settings, and what all comes to: ``Config``
    loading      the whole way

Pure: reads no file, no environment, no clock. Config dissolves at the door: ``app`` hands its parts on and keeps none
of it.

Source of the format: LiteLLM documentation, "Config.yaml".
"""

from __future__ import annotations

from bedrock_gateway.config.loading import load_config, load_database_url
from bedrock_gateway.config.settings import Config, GeneralSettings, Limits, RouterSettings, master_key_weakness

__all__ = [
    "Config",
    "GeneralSettings",
    "Limits",
    "RouterSettings",
    "load_config",
    "load_database_url",
    "master_key_weakness",
]
