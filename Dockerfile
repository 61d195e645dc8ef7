# The image that docs/scaling.md runs: docker build -t tollgate .
FROM golang:1.26-alpine AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 go build -buildvcs=false -trimpath -ldflags "-s -w" -o /out/usr/bin/caddy ./cmd/caddy \
	&& mkdir -p /out/etc/caddy /out/etc/ssl/certs /out/data /out/config \
	&& cp /etc/ssl/certs/ca-certificates.crt /out/etc/ssl/certs/ \
	&& cp Caddyfile.example /out/etc/caddy/Caddyfile \
	&& chown -R 65532:65532 /out/data /out/config

FROM scratch
COPY --from=build /out /
# Keys in files, spools and certificates are below /data: mount a volume there.
ENV PATH=/usr/bin XDG_DATA_HOME=/data XDG_CONFIG_HOME=/config
USER 65532:65532
VOLUME /data
EXPOSE 80 443 443/udp
CMD ["caddy", "run", "--config", "/etc/caddy/Caddyfile"]
