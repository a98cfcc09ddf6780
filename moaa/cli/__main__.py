"""`python -m moaa.cli`."""

from moaa.cli.main import main

raise SystemExit(main())
