# The images, one target each:
#   docker build --target gateway -t antigravity-gateway/gateway .
# Each is FROM scratch: static binaries and the certificates that the system trusts; no
# shell, no package, no root. Two builds of one commit give the same binaries.

FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
# glibc is linked in. The target is named, even the machine's own, so that the flag is
# not for build scripts and macros too.
ENV RUSTFLAGS="-C target-feature=+crt-static" \
    CARGO_INCREMENTAL=0
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    host=$(rustc --print host-tuple) && \
    cargo build --release --locked --target "$host" \
        -p gateway -p antigravity-gateway -p fake-google && \
    install -D -t /out/bin \
        "target/$host/release/gateway" \
        "target/$host/release/antigravity-gateway" \
        "target/$host/release/fake-google" && \
    install -D -t /out/token-service/bin "target/$host/release/antigravity-gateway" && \
    ln -s antigravity-gateway /out/token-service/bin/token-service && \
    install -d -m 0700 /out/data && \
    install -d -m 1777 /out/root/tmp && \
    install -D -m 0644 -t /out/root/etc/ssl/certs /etc/ssl/certs/ca-certificates.crt
# Scanners read here what comes from Debian, where distroless images have it too.
RUN install -D -m 0644 -t /out/root/etc /usr/lib/os-release && \
    install -d /out/root/var/lib/dpkg/status.d && \
    dpkg-query --status libc6 >/out/root/var/lib/dpkg/status.d/libc6 && \
    dpkg-query --status ca-certificates >/out/root/var/lib/dpkg/status.d/ca-certificates

FROM scratch AS base
COPY --from=build /out/root /
# A new volume that is mounted here belongs to this user too.
COPY --from=build --chown=65532:65532 /out/data /data
USER 65532:65532
WORKDIR /
ENV PATH=/bin

# The gateway alone: stateless, any number of them.
FROM base AS gateway
COPY --from=build /out/bin/gateway /bin/
ENV HOST=0.0.0.0
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["gateway", "healthcheck"]
ENTRYPOINT ["gateway"]

# The token-service, and the operators' command: one file with two names.
FROM base AS token-service
COPY --from=build /out/token-service /
# An address, not a token.
# hadolint ignore=DL3064
ENV TOKEN_SERVICE_LISTEN=0.0.0.0:50051
VOLUME /data
EXPOSE 50051
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["token-service", "healthcheck"]
ENTRYPOINT ["token-service"]

# A Google for demonstrations.
FROM base AS fake-google
COPY --from=build /out/bin/fake-google /bin/
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["fake-google", "--healthcheck", "--listen", "0.0.0.0:8080"]
ENTRYPOINT ["fake-google"]
CMD ["--listen", "0.0.0.0:8080"]

# Both services in one process, for one machine.
FROM base AS antigravity-gateway
COPY --from=build /out/bin/antigravity-gateway /bin/
ENV HOST=0.0.0.0
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["antigravity-gateway", "healthcheck"]
ENTRYPOINT ["antigravity-gateway"]
