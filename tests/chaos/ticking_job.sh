# The job whose process must be gone before its lease is given to another: it tells the ledger all the time that it
# lives. ticking_job.sh LEDGER FILE [RUN LEASE]: ends when FILE exists. One without environment is told who it is.
ORCHESTRATOR_RUN_ID=${3:-$ORCHESTRATOR_RUN_ID}
ORCHESTRATOR_LEASE=${4:-$ORCHESTRATOR_LEASE}
read -r up _ </proc/uptime
echo "$ORCHESTRATOR_RUN_ID $ORCHESTRATOR_LEASE $$ start $up" >>"$1"
until [ -e "$2" ]; do
  sleep 0.05
  read -r up _ </proc/uptime
  echo "$ORCHESTRATOR_RUN_ID $ORCHESTRATOR_LEASE $$ tick $up" >>"$1"
done
echo "$ORCHESTRATOR_RUN_ID $ORCHESTRATOR_LEASE $$ exit:0 $up" >>"$1"
