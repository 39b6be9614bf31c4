# make chaos: SEED=n DURATION=seconds. make passes an option that is not given as an empty string.
env = fn name -> with "" <- System.get_env(name, ""), do: nil end
seed = String.to_integer(env.("SEED") || Integer.to_string(:erlang.phash2(System.os_time(), 1_000_000)))
seconds = String.to_integer(env.("DURATION") || "600")
Logger.configure(level: :emergency)
{:ok, _} = Application.ensure_all_started(:ex_unit)
counts = Vdr.Test.Chaos.run(seed, seconds)

IO.puts(
  "chaos: #{counts.faults} faults, #{counts.full} full and #{counts.partial} partial syncs, " <>
    "#{counts.divergences} divergences, #{counts.lost} lost, #{counts.leaked} leaked"
)

unless counts.divergences + counts.lost + counts.leaked == 0, do: System.halt(1)
