# make bench [ONLY=name]: measures each figure beside what it is compared with, in the same run, and
# writes it to bench/results/latest.json, to latest.md and to the table in README.md. A run with
# ONLY replaces only those figures. The plots are drawn from the result files; ONLY=plots does
# nothing else.

for file <- ~w(paint measure cpu_time primary plain_client load plot report),
    do: Code.require_file("support/#{file}.exs", __DIR__)

for file <-
      ~w(reads percentiles aggregates memory cpu writes publishing bursts scan sync growth lua handlers watches lag
         command failover cache pevensie seen install),
    do: Code.require_file("#{file}.exs", __DIR__)

Logger.configure(level: :error)

benches = [
  get_ets: &Vdr.Bench.Reads.get_ets/0,
  get_ets_two_readers: &Vdr.Bench.Reads.get_ets_two_readers/0,
  get_ets_1_kb: &Vdr.Bench.Reads.get_ets_1_kb/0,
  get_ets_16_kb: &Vdr.Bench.Reads.get_ets_16_kb/0,
  get_network: &Vdr.Bench.Reads.get_network/0,
  percentiles: &Vdr.Bench.Percentiles.run/0,
  aggregates: &Vdr.Bench.Aggregates.run/0,
  diff: &Vdr.Bench.Reads.diff/0,
  memory: &Vdr.Bench.Memory.run/0,
  cpu: &Vdr.Bench.Cpu.run/0,
  writes: &Vdr.Bench.Writes.run/0,
  sustained: &Vdr.Bench.Writes.sustained/0,
  publishing: &Vdr.Bench.Publishing.run/0,
  bursts: &Vdr.Bench.Bursts.run/0,
  scan: &Vdr.Bench.Scan.run/0,
  full_sync: &Vdr.Bench.Sync.run/0,
  growth: &Vdr.Bench.Growth.run/0,
  lua: &Vdr.Bench.Lua.calls/0,
  writer_beside_readers: &Vdr.Bench.Lua.writer/0,
  handlers: &Vdr.Bench.Handlers.run/0,
  watches: &Vdr.Bench.Watches.run/0,
  lag: &Vdr.Bench.Lag.run/0,
  command: &Vdr.Bench.Command.run/0,
  lag_beside_busy: &Vdr.Bench.Lag.beside_busy/0,
  failover: &Vdr.Bench.Failover.run/0,
  cache: &Vdr.Bench.Cache.run/0,
  cache_on_server: &Vdr.Bench.Cache.on_server/0,
  cache_hits: &Vdr.Bench.Cache.hit_ratios/0,
  pevensie: &Vdr.Bench.Pevensie.run/0,
  seen: &Vdr.Bench.Seen.run/0,
  install: &Vdr.Bench.Install.run/0,
  plots: fn -> [] end
]

names = Enum.map(benches, &Atom.to_string(elem(&1, 0)))

chosen =
  case System.argv() do
    [] -> benches
    wanted -> Enum.filter(benches, fn {name, _} -> Atom.to_string(name) in wanted end)
  end

if chosen == [] do
  IO.puts(:stderr, "bench: no such bench; choose from #{Enum.join(names, ", ")}")
  System.halt(1)
end

circumstances = Vdr.Bench.Report.circumstances()
figures = Enum.flat_map(chosen, fn {_name, run} -> List.wrap(run.()) end)
if figures != [], do: Vdr.Bench.Report.write(figures, Enum.map(chosen, &elem(&1, 0)), chosen == benches, circumstances)
Vdr.Bench.Growth.plot()
Vdr.Bench.Lag.plot()
