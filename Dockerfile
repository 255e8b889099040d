# Two stages: the first builds a virtual environment, the second runs it and holds no build tools.
FROM python:3.13-slim AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY chaosproxy chaosproxy
RUN python3 -m venv /opt/chaosproxy
RUN /opt/chaosproxy/bin/pip install --no-cache-dir --disable-pip-version-check .

FROM python:3.13-slim
LABEL org.opencontainers.image.title="chaosproxy" org.opencontainers.image.licenses="MIT" \
    org.opencontainers.image.description="A TCP and HTTP proxy that injects faults, to show how clients and servers behave when the network fails"
COPY --from=build /opt/chaosproxy /opt/chaosproxy
COPY configs /etc/chaosproxy
ENV PATH=/opt/chaosproxy/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
# A number, not a name, so that Kubernetes can see that it is not root.
USER 10001:10001
EXPOSE 8474
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=2s --start-period=5s \
    CMD ["python3", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8474/healthz', timeout=1)"]
# Exec form: chaosproxy itself is PID 1 and gets the signals; no shell stands between.
ENTRYPOINT ["chaosproxy"]
CMD ["serve", "/etc/chaosproxy/compose.yaml"]
