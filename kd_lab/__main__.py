"""`python -m kd_lab`, which is `kd-lab`; torchrun wants a module."""

from kd_lab.cli.main import main

if __name__ == "__main__":
    main()
