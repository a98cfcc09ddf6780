import sys

from moaa_operator.main import main

sys.exit(main())
