# Alpine's Rust builds for musl, so the binary is static and the last stage needs no libraries. For both architectures:
#     docker buildx build --platform linux/amd64,linux/arm64 .
FROM rust:1.95-alpine AS build
WORKDIR /src
# The dependencies: a layer that is kept until one of these files changes. Tests and benches are not there yet.
COPY Cargo.toml Cargo.lock ./
COPY src/core/Cargo.toml src/core/
COPY src/mapping/Cargo.toml src/mapping/
COPY src/syntax/Cargo.toml src/syntax/
COPY deploy/build.rs deploy/
COPY deploy/musl/no-unwind.ld deploy/musl/
RUN sed -i '/^\[\[/,/^$/d' Cargo.toml && echo 'fn main() {}' >src/main.rs \
    && touch src/lib.rs src/core/mod.rs src/mapping/mod.rs src/syntax/mod.rs \
    && cargo build --release --locked
COPY . .
# For farspan --version: the build has no git.
ARG REVISION=unknown
ENV FARSPAN_BUILD_COMMIT=$REVISION
# cargo compares times, and these files can be older than what the layer above made of the empty ones.
RUN touch src/main.rs src/lib.rs src/*/mod.rs && cargo build --release --locked && mkdir /state

FROM scratch
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="farspan" \
      org.opencontainers.image.description="Traces of workflows in other systems, from their status API to OpenTelemetry" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /src/target/release/farspan /farspan
# The state must survive the container: mount a volume here, or set FARSPAN_STATE=redis or none.
COPY --from=build --chown=65532:65532 /state /state
ENV FARSPAN_STATE_DIR=/state
VOLUME /state
USER 65532:65532
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s CMD ["/farspan", "healthcheck"]
ENTRYPOINT ["/farspan"]
CMD ["run"]
