#!/usr/bin/env python
"""Django's command line, which says in one line why it will not start."""

import os
import sys


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "backend.settings")
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line

    from backend import tenant

    try:
        # Whoever sits at this machine acts for all clinics; commands that do so leave it on record.
        with tenant.everywhere():
            execute_from_command_line(sys.argv)
    except ImproperlyConfigured as refusal:
        sys.exit(f"Not starting: {refusal}")


if __name__ == "__main__":
    main()
