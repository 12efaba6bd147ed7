"""`python -m debft` is the same as `debft`; several processes are started this way."""

from debft.cli import main

if __name__ == "__main__":
    main()
