"""``python -m bedrock_gateway`` is the command ``bedrock-gateway``."""

import sys

from bedrock_gateway.cli import main

sys.exit(main())
