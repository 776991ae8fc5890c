# The job of the chaos clusters: tells the ledger that it started and how it ends, each in one write with O_APPEND.
# job.sh LEDGER SECONDS EXIT_STATUS LINES: with EXIT_STATUS "flaky" its first attempt fails and later ones succeed.
read -r up _ </proc/uptime
echo "$ORCHESTRATOR_RUN_ID $ORCHESTRATOR_LEASE $$ start $up" >>"$1"
line=0
while [ $line -lt "$4" ]; do
  echo "lease $ORCHESTRATOR_LEASE line $line"
  line=$((line + 1))
done
[ "$2" = 0 ] || sleep "$2"
status=$3
if [ "$status" = flaky ]; then
  status=0
  [ "$ORCHESTRATOR_ATTEMPT" -gt 1 ] || status=7
fi
read -r up _ </proc/uptime
echo "$ORCHESTRATOR_RUN_ID $ORCHESTRATOR_LEASE $$ exit:$status $up" >>"$1"
exit "$status"
