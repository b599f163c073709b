# Alpine's Rust builds for musl, so the binary is static and the last stage needs no libraries.
FROM rust:1.95-alpine AS build
RUN apk add --no-cache build-base ca-certificates
WORKDIR /src
COPY . .
RUN cargo build --release --locked && mkdir /state

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /src/target/release/farspan /farspan
# The state must survive the container: mount a volume here, or set FARSPAN_STATE=redis or none.
COPY --from=build --chown=65532:65532 /state /state
ENV FARSPAN_STATE_DIR=/state
VOLUME /state
USER 65532:65532
HEALTHCHECK CMD ["/farspan", "healthcheck"]
ENTRYPOINT ["/farspan"]
CMD ["run"]
