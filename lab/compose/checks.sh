# What the lab's scripts ask before they start. To be sourced.

# Oldest engines that are known to work.
oldest_docker=20.10
oldest_podman=4.3
# What a whole lab takes, with room.
need_disk_mb=1000
need_memory_mb=1500

# fail WHAT NEXT: says what is wrong and what to do, and ends.
fail() {
  printf 'error: %s\n' "$1" >&2
  [ -z "${2:-}" ] || printf '  next: %s\n' "$2" >&2
  exit 1
}

need_docker() {
  command -v docker >/dev/null || fail "there is no docker" "install Docker Engine $oldest_docker or later (Debian: docker.io), or use the lab without containers: coracle up"
  case $(docker --version 2>/dev/null) in
    podman*) fail "docker is Podman's own command line here" "install Docker's (Debian: docker.io) and point it to Podman: DOCKER_HOST=unix:///run/podman/podman.sock" ;;
  esac
  local said version components engine="Docker Engine" oldest=$oldest_docker
  said=$(docker version --format '{{.Server.Version}} {{range .Server.Components}}{{.Name}},{{end}}' 2>&1) ||
    fail "the Docker Engine does not answer: $said" "start it (systemctl start docker), or add yourself to its group"
  read -r version components <<<"$said"
  # Podman behind Docker's API says its own version.
  case $components in Podman*) engine=Podman oldest=$oldest_podman ;; esac
  [ "$(printf '%s\n%s\n' "$oldest" "$version" | sort -V | head -n 1)" = "$oldest" ] ||
    fail "$engine $version is too old" "$oldest or later is needed"
}

# Sets `compose` to the command line of Compose.
need_compose() {
  if docker compose version >/dev/null 2>&1; then
    compose=(docker compose)
  elif command -v docker-compose >/dev/null; then
    compose=(docker-compose)
    local version
    version=$(docker-compose version --short)
    [ "$(printf '%s\n1.29\n' "$version" | sort -V | head -n 1)" = 1.29 ] ||
      fail "docker-compose $version is too old" "1.29 or later is needed, or Compose v2"
  else
    fail "there is no Compose" "install docker-compose (Debian), or Docker's plugin docker-compose-plugin"
  fi
}

need_room() {
  local free memory
  free=$(df -Pm "$(docker info --format '{{.DockerRootDir}}')" 2>/dev/null | awk 'NR == 2 {print $4}') || free=
  [ -z "$free" ] || [ "$free" -ge "$need_disk_mb" ] ||
    fail "$free MB are free on Docker's disk; a lab needs $need_disk_mb MB" "make room: docker system df shows what takes it"
  memory=$(awk '/^MemAvailable:/ {print int($2 / 1024)}' /proc/meminfo 2>/dev/null) || memory=
  [ -z "$memory" ] || [ "$memory" -ge "$need_memory_mb" ] ||
    fail "$memory MB of memory are free; a lab needs $need_memory_mb MB" "end something, or take the small lab: lab/compose/lab up --small"
}

need_images() {
  local image
  for image in "$@"; do
    docker image inspect "$image" >/dev/null 2>&1 || fail "the image $image is not there" "build it: lab/compose/build"
  done
}

# need_port PORT VARIABLE: nobody listens on it on loopback.
need_port() {
  if (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; then
    fail "port $1 of 127.0.0.1 is taken" "end what listens there (ss -ltnp sport = :$1), or choose another: $2=PORT lab/compose/lab up"
  fi
}
