# One image for web, worker and clock; docker-compose.yml says who runs what.
ARG PYTHON=3.11

FROM python:${PYTHON}-slim-bookworm AS packages
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /venv
COPY requirements.txt .
RUN /venv/bin/pip install --only-binary :all: -r requirements.txt

FROM python:${PYTHON}-slim-bookworm
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    BIND=0.0.0.0 PORT=8000 VAR_DIR=/var/lib/rehab
RUN useradd --system --uid 10001 --no-create-home rehab && install -d -o rehab /var/lib/rehab
COPY --from=packages /venv /venv
WORKDIR /srv/rehab
COPY manage.py gunicorn.conf.py ./
COPY exercises exercises
COPY protocols protocols
COPY backend backend
COPY docs/adherence.md docs/adherence.md
# Files for browsers are part of the image. The key is for this line only.
RUN python -m compileall -q backend exercises protocols \
    && SECRET_KEY="$(python -c 'import secrets; print(secrets.token_urlsafe(50))')" \
    ALLOWED_HOSTS=build python manage.py collectstatic --noinput --verbosity 0
USER rehab
EXPOSE 8000
HEALTHCHECK --interval=15s --timeout=5s --start-period=20s CMD ["python", "-c", "\
import os, urllib.request as u; \
host = os.environ['ALLOWED_HOSTS'].split(',')[0].strip('*.') or 'localhost'; \
u.urlopen(u.Request('http://127.0.0.1:' + os.environ['PORT'] + '/healthz', headers={'Host': host}))"]
CMD ["gunicorn", "backend.wsgi"]
