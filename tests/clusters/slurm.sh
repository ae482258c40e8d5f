#!/bin/sh
# A Slurm of one node on the loopback interface, without systemd: slurm.sh up|down FOLDER.
#
# Everything it writes lies in FOLDER, and no setting of the machine is touched. Root alone can
# start it: munge and slurmd change users. `up` is over when the node takes jobs.
set -eu
action=${1:?up or down}
folder=$(mkdir -p "${2:?a folder}" && cd "$2" && pwd)
export SLURM_CONF=$folder/slurm.conf
# munged goes up every folder above its socket and wants them closed to others; short names, for a
# socket's path has 107 characters at most.
munge=$folder/munge
host=$(hostname -s)

down() {
  for name in slurmd slurmctld munged; do
    if [ -s "$folder/$name.pid" ]; then
      pid=$(cat "$folder/$name.pid")
      kill "$pid" 2>/dev/null || true
      for _ in 1 2 3 4 5 6 7 8 9 10; do kill -0 "$pid" 2>/dev/null || break; sleep 0.5; done
      kill -9 "$pid" 2>/dev/null || true
      rm -f "$folder/$name.pid"
    fi
  done
}

up() {
  for tool in munged mungekey slurmctld slurmd sinfo; do
    command -v $tool >/dev/null || { echo "$tool is not installed: apt-get install slurm-wlm munge" >&2; exit 2; }
  done
  [ "$(id -u)" = 0 ] || { echo "Slurm's daemons are started by root alone" >&2; exit 2; }
  mkdir -p "$munge" "$folder/state" "$folder/spool"
  chmod 755 "$munge"
  [ -f "$folder/munge.key" ] || mungekey --create --keyfile="$folder/munge.key"
  chmod 600 "$folder/munge.key"
  cores=$(getconf _NPROCESSORS_ONLN)
  [ "$cores" -ge 2 ] || cores=2
  memory=$(awk '/MemTotal/ {print int($2 / 1024 * 0.9)}' /proc/meminfo)
  ports=16817  # a further Slurm takes the next free ones
  while grep -q ":$(printf %04X $ports) .* 0A " /proc/net/tcp || grep -q ":$(printf %04X $((ports + 1))) .* 0A " /proc/net/tcp; do
    ports=$((ports + 200))
  done
  cat >"$SLURM_CONF" <<EOF
ClusterName=loopback
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$munge/socket
CredType=cred/munge
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmctldPort=$ports
SlurmdPort=$((ports + 1))
SrunPortRange=$((ports + 100))-$((ports + 150))
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
# No control groups: processes are found by their parents, memory is looked at every second.
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/none
SwitchType=switch/none
MpiDefault=none
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=2,batch_sched_delay=0,sched_min_interval=0
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
KillWait=5
ReturnToService=2
NodeName=$host NodeAddr=127.0.0.1 CPUs=$cores Boards=1 SocketsPerBoard=1 CoresPerSocket=$cores ThreadsPerCore=1 RealMemory=$memory State=UNKNOWN
PartitionName=short Nodes=$host Default=YES MaxTime=60 PriorityTier=1 State=UP
PartitionName=urgent Nodes=$host MaxTime=60 PriorityTier=10 State=UP
EOF
  munged --socket="$munge/socket" --key-file="$folder/munge.key" --pid-file="$folder/munged.pid" \
    --log-file="$folder/munged.log" --seed-file="$folder/munge.seed" --force 2>>"$folder/munged.log"
  slurmctld
  slurmd
  for _ in $(seq 60); do
    case $(sinfo --noheader --partition=short --format=%T 2>/dev/null) in
      idle*) return 0 ;;
    esac
    sleep 0.5
  done
  echo "the node takes no jobs; see $folder/slurmctld.log and slurmd.log" >&2
  down
  exit 1
}

case $action in
  up) up && echo "SLURM_CONF=$SLURM_CONF" ;;
  down) down ;;
  *) echo "up or down, not $action" >&2; exit 2 ;;
esac
