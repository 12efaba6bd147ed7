# syntax=docker/dockerfile:1
# debft in a container, as a user without rights.
#
#   docker build -t debft .                                            torch as the usual index has it: with CUDA on x86-64
#   docker build -t debft --build-arg TORCH_INDEX=URL .                without CUDA; pytorch.org/get-started names the URL
#   docker build -t debft --build-arg EXTRAS=report,gpu .              with the kernels for attention on an NVIDIA GPU
#   docker run --rm -v "$PWD:/work" debft mnli --data demo
#   docker run --rm --gpus all --shm-size 8g -v "$PWD:/work" -v debft-cache:/cache debft mnli
ARG PYTHON=3.12

FROM python:${PYTHON}-slim-bookworm AS wheel
WORKDIR /source
COPY constraints.txt pyproject.toml README.md LICENSE ./
RUN python -m pip install --no-cache-dir --constraint constraints.txt build hatchling
COPY recipes recipes
COPY .agents/skills/debft .agents/skills/debft
COPY debft debft
RUN python -m build --wheel --no-isolation --outdir /wheel

FROM python:${PYTHON}-slim-bookworm
ARG EXTRAS=report
ARG TORCH_INDEX=""
# The kernels for attention are compiled when they are first used; any C compiler does.
# hadolint ignore=DL3008
RUN case ",${EXTRAS}," in *,gpu,*) \
      apt-get update \
      && apt-get install --yes --no-install-recommends gcc libc6-dev \
      && rm -rf /var/lib/apt/lists/* ;; \
    esac
COPY constraints.txt /tmp/constraints.txt
RUN if [ -n "${TORCH_INDEX}" ]; then \
      python -m pip install --no-cache-dir --constraint /tmp/constraints.txt --index-url "${TORCH_INDEX}" torch; \
    fi
COPY --from=wheel /wheel /tmp/wheel
RUN wheel="$(echo /tmp/wheel/*.whl)" \
    && python -m pip install --no-cache-dir --constraint /tmp/constraints.txt "${wheel}[${EXTRAS}]" \
    && rm -r /tmp/wheel /tmp/constraints.txt \
    && useradd --create-home --uid 1000 debft \
    && mkdir /cache /work \
    && chown debft:debft /cache /work
ENV HF_HOME=/cache/hub \
    DEBFT_CACHE=/cache/debft \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 1000
WORKDIR /work
VOLUME ["/cache"]
ENTRYPOINT ["debft"]
CMD ["--help"]
