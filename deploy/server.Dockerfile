# The server: web, gateway, workers, beat, and the broker (mosquitto under `manage.py broker`). One image for all of them.
FROM python:3.11.11-slim-bookworm

RUN apt-get update \
 && apt-get install -y --no-install-recommends mosquitto \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --uid 10001 --create-home --shell /usr/sbin/nologin edgefleet \
 && install -d -o edgefleet -g edgefleet /data

WORKDIR /srv/edgefleet
COPY requirements.txt .
RUN pip install --no-cache-dir --disable-pip-version-check -r requirements.txt
COPY manage.py .
COPY agent agent
COPY fleet fleet
COPY templates templates
COPY static static

USER edgefleet
ENV PYTHONUNBUFFERED=1 EDGEFLEET_DATA=/data PROFILE=services
VOLUME /data
