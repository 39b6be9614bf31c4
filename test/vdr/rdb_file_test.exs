defmodule Vdr.RdbFileTest do
  use ExUnit.Case, async: true

  alias Mix.Tasks.Vdr.Rdb

  @small "test/fixtures/small.rdb"
  @fixtures "native/vdr_rdb/tests/rdb"
  @shared System.get_env("VDR_SHARED_RDB") || "../shared/rdb"

  # A folder, a file, and the `DEBUG DIGEST` of a server that has loaded the file.
  @digests %{
    "redis/corrupt_empty_keys" => "0000000000000000000000000000000000000000",
    "redis/encodings" => "e9abcce40e69c9faa766aba4e264e823edff741d",
    "redis/hash-ziplist" => "3ca39ed0cb3b979b5b125ae0d1e54f2c40b7c5e6",
    "redis/hash-zipmap" => "3ca39ed0cb3b979b5b125ae0d1e54f2c40b7c5e6",
    "redis/list-quicklist" => "3d77c75a5b6cc5319b4ecf6e95101ed07ddd139e",
    "redis/scriptbackup" => "0000000000000000000000000000000000000000",
    "redis/zset-ziplist" => "fa1ca919dcef4dea3e3e609298a9e329d3bb7c61",
    "valkey/encodings-rdb12" => "d2ab4820c1be0580ea28efbfe8bfa1dc05bb802a",
    "valkey/encodings-rdb987" => "e9abcce40e69c9faa766aba4e264e823edff741d",
    "redis-rdb-tools/dictionary" => "3cf7733fb52117e2d13f6e59b71132ea9a99296a",
    "redis-rdb-tools/easily_compressible_string_key" => "4d3597714ae6491fa658064ac852cf16f6227595",
    "redis-rdb-tools/empty_database" => "0000000000000000000000000000000000000000",
    "redis-rdb-tools/hash_as_ziplist" => "38af0cafe15230d0b25c76d4a1a8b3a93f4479f2",
    "redis-rdb-tools/integer_keys" => "a7ca00384af6df2a86a963017a7bf293124ab1ac",
    "redis-rdb-tools/intset_16" => "9521aa8c185e04f1325a62115d6757ea010f5531",
    "redis-rdb-tools/intset_32" => "466efd62781af547ef404fae32be05e9305ec53f",
    "redis-rdb-tools/intset_64" => "97cee65bf4f77cacae29b8eef5408627b12cb3f1",
    "redis-rdb-tools/keys_with_expiry" => "a3553df1b0ebb3c813b769445743db7cd01f8a0d",
    "redis-rdb-tools/linkedlist" => "245c74086b8d752d67a3518b5e8eb30dc3476732",
    "redis-rdb-tools/multiple_databases" => "9feeb800a19865f80d47990266391fe33f1d9ae4",
    "redis-rdb-tools/non_ascii_values" => "63afe9c76c6438dfec1170207faa72076a2aaabe",
    "redis-rdb-tools/parser_filters" => "d89c8ad590bf9cbdf32f7de73a027f7454636142",
    "redis-rdb-tools/rdb_version_5_with_checksum" => "82456b18b53ae459ea9e26d8b11d0ca1b2dd9138",
    "redis-rdb-tools/redis_50_with_streams" => "6baf2bf94357399d2be9166aa5a7efa8a92a124e",
    "redis-rdb-tools/redis_60_with_module_aux" => "0000000000000000000000000000000000000000",
    "redis-rdb-tools/regular_set" => "3cd0311ddcd6ca425fd492fc2e45e4194b56699d",
    "redis-rdb-tools/regular_sorted_set" => "f578d6fb6850c195461e44690dbf52ec650f6af0",
    "redis-rdb-tools/sorted_set_as_ziplist" => "74db7715295d77269563a627eef86d70ecf1f052",
    "redis-rdb-tools/uncompressible_string_keys" => "4ed97536688ce3ba2a56f236d4958fb39bb8fa6c",
    "redis-rdb-tools/ziplist_that_compresses_easily" => "e40ff91bc02a9b15e0be51a64214f79890b82751",
    "redis-rdb-tools/ziplist_that_doesnt_compress" => "915a3bc99c685296d0a9ba0f4f08a5470706eb4d",
    "redis-rdb-tools/ziplist_with_integers" => "0b86ad860805f70992873a80191c1fa85cd879a6",
    "redis-rdb-tools/zipmap_that_compresses_easily" => "38af0cafe15230d0b25c76d4a1a8b3a93f4479f2",
    "redis-rdb-tools/zipmap_that_doesnt_compress" => "8fc21e215a68c31cb19da3fa0e6edce2c2f98e19",
    "redis-rdb-tools/zipmap_with_big_values" => "47a498ed5fc39361b2dc2110c6b98daf67266227",
    "generated/redis-7.0.15-alltypes" => "3349e103370c4cb66110d6c2218747a45c463231",
    "generated/redis-7.2.6-alltypes" => "befd23ee48b9caabce12f257ff5febfe4ab729a0",
    "generated/redis-7.4.1-alltypes" => "860e5e6accb4e0c050b561d50b07381be7c1b200",
    "generated/redis-7.4.1-cluster-mode" => "9f401b8426f38b7dea8da1935611fd790697c0a4",
    "generated/redis-8.0.6-alltypes" => "1dbe5f382469d1c196c731d73def4546b1f4df7d",
    "generated/redis-8.6.3-alltypes" => "83e65322da42c1e9a7c9d0202dc6e32e47bf8de3",
    "generated/redis-8.6.3-cluster-mode" => "9f401b8426f38b7dea8da1935611fd790697c0a4",
    "generated/redis-8.6.3-empty" => "0000000000000000000000000000000000000000",
    "generated/redis-8.6.3-nocompress-nochecksum" => "5b60eafae8f558b7bcac9a58ef9cbd0457ad08c2",
    "generated/valkey-8.0.1-alltypes" => "8633b1cfd07845116014fdf3f88c3d302e57a671",
    "generated/valkey-8.0.1-cluster-mode" => "9f401b8426f38b7dea8da1935611fd790697c0a4",
    "generated/valkey-8.1.1-alltypes" => "91982552d0ed73d208909ef44071da0a569837f7",
    "generated/valkey-9.1.2-alltypes" => "e3a9fc70f371aac90d2b7afa13fa5e13fe1d68bd",
    "generated/valkey-9.1.2-cluster-mode" => "9f401b8426f38b7dea8da1935611fd790697c0a4",
    "generated/valkey-9.1.2-cluster-slot-import" => "63dff7a00ef7096c263c2ed8660b43acb2c9f175",
    "generated/valkey-9.1.2-empty" => "0000000000000000000000000000000000000000",
    "generated/valkey-9.1.2-lfu" => "2a565ed44c86ad1d3853f38b8cbf0a4f8a0a14b5",
    "generated/valkey-9.1.2-rdb11-fallback" => "0735341ed1db9c54332af9d7dd0d507b1703f067"
  }

  test "a file becomes a snapshot that reads like any other" do
    assert {:ok, snapshot} = Veidrodelis.load_rdb(@small)
    assert Veidrodelis.get(snapshot, 0, "user:1:name") == {:ok, "Alice"}
    assert Veidrodelis.lrange(snapshot, 0, "jobs", 0, -1) == {:ok, ["a", "b", "c"]}
    assert Veidrodelis.zscore(snapshot, 0, "scores", "ann") == {:ok, 1.5}
    assert Veidrodelis.pexpiretime(snapshot, 0, "user:2:name") == {:ok, 4_102_444_800_000}
    assert Veidrodelis.dbsize(snapshot, 3) == {:ok, 1}
    assert Vdr.Snapshot.offset(snapshot) == 0
  end

  test "the project's own files have the digests that their servers answered" do
    digests =
      for file <- Path.wildcard("#{@fixtures}/*.rdb") do
        ["digest " <> digest | _keys] =
          file |> Path.rootname() |> Kernel.<>(".keys") |> File.read!() |> String.split("\n")

        assert {:ok, snapshot} = Veidrodelis.load_rdb(file)

        case Veidrodelis.digest(snapshot) do
          {:ok, ours} -> assert ours == digest, file
          {:error, {:not_comparable, keys}} -> assert keys > 0
        end
      end

    assert length(digests) >= 20
  end

  test "files of a wider collection, where it is at hand, have their known digests" do
    if File.dir?(@shared) do
      for {name, digest} <- @digests do
        assert {:ok, snapshot} = Veidrodelis.load_rdb(Path.join(@shared, name <> ".rdb"))
        # Files with a module's value have no digest.
        case Veidrodelis.digest(snapshot) do
          {:error, {:not_comparable, keys}} -> assert keys > 0, name
          answer -> assert answer == {:ok, digest}, name
        end
      end

      assert {:error, {:rdb_corrupt, _}} = Veidrodelis.load_rdb(Path.join(@shared, "redis/corrupt_ziplist.rdb"))
    else
      IO.puts("no folder #{@shared}: only the project's own snapshot files are tested")
    end
  end

  test "an invalid snapshot file is refused, with the byte and the key" do
    assert Veidrodelis.load_rdb("no/such/file") == {:error, :enoent}
    assert Veidrodelis.load_rdb("nul\0byte") == {:error, :enoent}
    assert Veidrodelis.load_rdb("test") == {:error, :eisdir}
    assert Veidrodelis.load_rdb([~c"no/such", "/file"]) == {:error, :enoent}

    for no_path <- [nil, :file, 1, %{}, [nil], [~c"a" | :b]] do
      assert_raise ArgumentError, ~r/the path of a snapshot file is a string.*got: /, fn ->
        Veidrodelis.load_rdb(no_path)
      end
    end

    assert Veidrodelis.load_rdb("/dev/null") == {:error, :not_a_file}
    assert {:error, {:rdb_bad_magic, %{offset: _, key: nil}}} = Veidrodelis.load_rdb("mix.exs")

    whole = File.read!(@small)
    assert {:error, {:rdb_truncated, _}} = load(binary_part(whole, 0, byte_size(whole) - 20))
    assert {:error, {:rdb_truncated, %{offset: 0}}} = load("")
    assert {:error, {:rdb_checksum, _}} = load(String.replace(whole, "Alice", "Alicf"))
    assert {:error, {:rdb_corrupt, about}} = load("REDIS0011" <> <<16, 1, ?k, 3, "bad">>)
    assert %{key: "k", offset: 16} = about

    message = Exception.message(%Veidrodelis.Error{reason: {:rdb_corrupt, about}})
    assert message =~ "at byte 16"
    assert message =~ ~s(key "k")
  end

  test "the task prints a summary" do
    text = run([@small])
    assert text =~ "RDB version 10 of redis"
    assert text =~ "7 keys"
    assert text =~ ~r/^  0 +string +2 /m
    assert text =~ ~r/^  3 +string +1 /m
    assert text =~ ~r/ user:$/m
    assert text =~ ~r/^  never +6$/m
    assert text =~ ~r/^  later +1$/m
    refute text =~ "\e"
  end

  test "the task prints one JSON object" do
    json = run([@small, "--json", "--top", "1"])
    assert json =~ ~s("version":10,)
    assert json =~ ~s({"db":3,"type":"string","keys":1,"elements":1,"bytes":6})
    assert json =~ ~s("expiry":[{"within":"past","keys":0})
    assert length(Regex.scan(~r/"prefix":/, json)) == 1
  end

  test "the task says what is wrong with its arguments or the file" do
    assert_raise Mix.Error, ~r/usage/, fn -> Rdb.run([]) end
    assert_raise Mix.Error, ~r/usage/, fn -> Rdb.run([@small, "--what"]) end
    assert_raise Mix.Error, ~r/mix.exs: the file is not a snapshot file/, fn -> Rdb.run(["mix.exs"]) end
  end

  defp run(argv) do
    ExUnit.CaptureIO.capture_io(fn -> Rdb.run(argv) end)
  end

  defp load(bytes) do
    path = Path.join(System.tmp_dir!(), "vdr-#{System.pid()}-#{System.unique_integer([:positive])}.rdb")
    File.write!(path, bytes)

    try do
      Veidrodelis.load_rdb(path)
    after
      File.rm(path)
    end
  end
end
