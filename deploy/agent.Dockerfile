# The agent alone: neither Django nor torch.
FROM python:3.11.11-slim-bookworm

RUN useradd --uid 10001 --create-home --shell /usr/sbin/nologin edge \
 && install -d -o edge -g edge /data
COPY agent /tmp/agent
RUN pip install --no-cache-dir --disable-pip-version-check /tmp/agent && rm -r /tmp/agent

USER edge
WORKDIR /home/edge
ENV PYTHONUNBUFFERED=1 EDGE_AGENT_DATA=/data
VOLUME /data
CMD ["python", "-m", "agent", "run"]
