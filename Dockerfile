# One image for every process of Cairn; compose.yaml says which one a container runs.
FROM python:3.12-slim
WORKDIR /cairn
COPY requirements/run.txt requirements/
RUN pip install --no-cache-dir --disable-pip-version-check --require-hashes -r requirements/run.txt \
 && useradd --no-create-home cairn
COPY domain domain
COPY eventstore eventstore
COPY projections projections
COPY api api
COPY workers workers
COPY migrations migrations
COPY cairn cairn
USER cairn
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
EXPOSE 8080
CMD ["python", "-m", "cairn", "serve"]
