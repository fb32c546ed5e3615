//! What a run writes and prints.

use super::{
    support::{program::Desk, random_model::Shape},
    tables::{Csv, parquet},
};

const LAYERS: &str = "model,layer,input_variance,output_variance,attention_variance,feed_forward_variance,output_rms,\
                      attention_ratio,feed_forward_ratio,block_influence,tokens";
const ANGULAR: &str = "model,start,span,position,distance,stderr,count";
const PRUNE: &str = "model,first,last,part,metric,baseline,pruned,delta,ci_low,ci_high,count,p_value,p_adjusted";

#[test]
fn a_scan_writes_three_tables_three_charts_and_a_manifest() {
    let desk = Desk::new();
    desk.measure("scan --out out").succeeded();
    let files: Vec<String> = desk.files().into_iter().filter(|file| file.starts_with("out/")).collect();
    let expected = [
        "out/charts",
        "out/charts/angular.png",
        "out/charts/angular.svg",
        "out/charts/prune.png",
        "out/charts/prune.svg",
        "out/charts/variance.png",
        "out/charts/variance.svg",
        "out/manifest.json",
        "out/tables",
        "out/tables/angular.csv",
        "out/tables/angular.parquet",
        "out/tables/layers.csv",
        "out/tables/layers.parquet",
        "out/tables/prune.csv",
        "out/tables/prune.parquet",
    ];
    assert_eq!(files, expected);
}

#[test]
fn tables_have_the_columns_that_others_rely_on_in_both_formats() {
    let desk = Desk::new();
    desk.measure("scan --out out").succeeded();
    for (name, header, rows) in [("layers", LAYERS, 5), ("angular", ANGULAR, 2 * 15), ("prune", PRUNE, 5 * 4)] {
        let csv = Csv::read(&desk.path(&format!("out/tables/{name}.csv")));
        assert_eq!(csv.header, header);
        assert_eq!(csv.rows.len(), rows, "{name}");
        let table = parquet(&desk.path(&format!("out/tables/{name}.parquet")));
        assert_eq!(table.get_column_names().iter().map(|name| name.as_str()).collect::<Vec<_>>().join(","), header);
        for column in header.split(',') {
            let column = table.column(column).unwrap();
            if let Ok(floats) = column.f64() {
                let floats: Vec<f64> = floats.iter().map(|float| float.unwrap_or(f64::NAN)).collect();
                let same = |(a, b): (&f64, &f64)| a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan());
                assert!(floats.iter().zip(&csv.numbers(column.name())).all(same), "{name}, {}", column.name());
            }
        }
    }
}

#[test]
fn rows_name_what_they_measured() {
    let desk = Desk::new();
    desk.measure("scan --out out").succeeded();
    let layers = Csv::read(&desk.path("out/tables/layers.csv"));
    assert_eq!(layers.keys(&["model", "layer", "tokens"])[4], "model 4 42");
    let angular = Csv::read(&desk.path("out/tables/angular.csv"));
    let of = |position: &str, count: &str| {
        let keys = angular.keys(&["start", "span", "position", "count"]);
        for (start, span) in (0..5).flat_map(|start| (1..=5 - start).map(move |span| (start, span))) {
            assert!(keys.contains(&format!("{start} {span} {position} {count}")), "{start} {span} {position}");
        }
    };
    of("last", "4");
    of("all", "42");
    let prune = Csv::read(&desk.path("out/tables/prune.csv"));
    assert_eq!(
        prune.keys(&["first", "last", "part", "metric", "count"])[4..8],
        ["1 1 block nll 38", "1 1 block perplexity 38", "1 1 block kl 38", "1 1 block top1_agreement 38"]
    );
    for row in &prune.rows {
        let number = |column: &str| row[column].parse::<f64>().unwrap();
        assert_eq!(number("delta"), number("pruned") - number("baseline"));
        assert!(number("ci_low") <= number("delta") && number("delta") <= number("ci_high"));
    }
}

#[test]
fn a_verb_measures_its_part_and_gives_the_numbers_of_the_scan() {
    let desk = Desk::new();
    desk.measure("scan --out scan").succeeded();
    for (verb, table, chart) in
        [("variance", "layers", "variance"), ("angular", "angular", "angular"), ("prune", "prune", "prune")]
    {
        desk.measure(&format!("{verb} --out {verb}")).succeeded();
        let written: Vec<String> = desk
            .files()
            .into_iter()
            .filter(|file| file.starts_with(&format!("{verb}/")) && file.contains('.'))
            .collect();
        let [svg, png] = ["svg", "png"].map(|ending| format!("{verb}/charts/{chart}.{ending}"));
        let [csv, parquet] = ["csv", "parquet"].map(|ending| format!("{verb}/tables/{table}.{ending}"));
        assert_eq!(written, [png, svg, format!("{verb}/manifest.json"), csv, parquet]);
        let read = |run: &str| std::fs::read(desk.path(&format!("{run}/tables/{table}.csv"))).unwrap();
        assert_eq!(read(verb), read("scan"), "{verb}");
    }
}

#[test]
fn the_manifest_says_what_was_done_to_what() {
    let desk = Desk::new();
    desk.measure("scan --out out --seed 5 --window 2 --parts attention,block --tolerance 0.02 --memory 1GiB")
        .succeeded();
    let manifest = desk.json("out/manifest.json");
    assert_eq!(manifest["depthscope"], env!("CARGO_PKG_VERSION"));
    let plan = &manifest["plan"];
    assert_eq!((&plan["model"], &plan["seed"]), (&"model".into(), &5.into()));
    assert_eq!(plan["input"]["tokens"]["file"], "tokens.json");
    assert_eq!(plan["memory"], 1u64 << 30);
    let prune = &plan["measures"]["prune"];
    assert_eq!(prune["parts"], serde_json::json!(["block", "attention"]));
    assert_eq!((&prune["window"], &prune["tolerance"]), (&2.into(), &0.02.into()));
    let model = &manifest["model"];
    assert_eq!((&model["family"], &model["layers"]), (&"llama".into(), &5.into()));
    let parameters: usize = Shape::TINY.tensors().iter().map(|(_, shape)| shape.iter().product::<usize>()).sum();
    assert_eq!(model["parameters"], parameters);
    let file = &model["files"][0];
    assert_eq!((&file["name"], &file["of"]), (&"model.safetensors".into(), &"file".into()));
    assert_eq!(file["bytes"], std::fs::metadata(desk.path("model/model.safetensors")).unwrap().len());
    assert_eq!(file["sha256"].as_str().unwrap().len(), 64);
    let input = &manifest["input"];
    assert_eq!((&input["sequences"], &input["tokens"]), (&4.into(), &42.into()));
    assert_eq!((&manifest["device"], &manifest["dtype"]), (&"cpu".into(), &"f32".into()));
    assert!(manifest["wall_seconds"].as_f64().unwrap() > 0.0);
    assert_eq!(manifest["warnings"], serde_json::json!([]));
}

#[test]
fn json_is_one_document_on_stdout_with_every_row() {
    let desk = Desk::new();
    let outcome = desk.measure("scan --format json --out out").succeeded();
    let document: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(outcome.stderr, "");
    let length = |table: &str| document[table].as_array().unwrap().len();
    assert_eq!((length("layers"), length("angular"), length("prune")), (5, 30, 20));
    assert_eq!(document["manifest"]["model"]["layers"], 5);
    assert_eq!(document["verdict"]["findings"].as_array().unwrap().len(), 5);
    assert!(document["growth"]["power"]["aic"].is_number());
    let csv = Csv::read(&desk.path("out/tables/prune.csv"));
    let delta = document["prune"][6]["delta"].as_f64().unwrap();
    assert_eq!(delta, csv.numbers("delta")[6]);
    let quiet = desk.measure("prune --format json --quiet").succeeded();
    assert!(serde_json::from_str::<serde_json::Value>(&quiet.stdout).unwrap()["layers"].is_null());
}

#[test]
fn quiet_prints_nothing_and_still_writes() {
    let desk = Desk::new();
    desk.tokens(&[vec![1, 2, 3], vec![4]]);
    let outcome = desk.measure("scan --quiet --out out").succeeded();
    assert_eq!((outcome.stdout.as_str(), outcome.stderr.as_str()), ("", ""));
    assert_eq!(desk.json("out/manifest.json")["warnings"].as_array().unwrap().len(), 2);
}

#[test]
fn a_summary_fits_80_columns_whatever_the_names() {
    let desk = Desk::with(Shape { layers: 12, ..Shape::TINY }, &|_, values| values.iter_mut().for_each(|x| *x *= 1.5));
    let long = format!("{}/{}", "a".repeat(70), "b".repeat(90));
    let moved = desk.path(&long);
    std::fs::create_dir_all(moved.parent().unwrap()).unwrap();
    std::fs::rename(desk.path("model"), &moved).unwrap();
    for verb in ["scan", "prune --parts block,attention,feed_forward", "prune --window 3", "angular", "variance"] {
        let out = format!("{}/out", desk.path(&"c".repeat(100)).display());
        let outcome = desk.run(&format!("{verb} --model {long} --tokens tokens.json --out {out}")).succeeded();
        assert!(outcome.stdout.contains("12 blocks"), "{}", outcome.stdout);
        for line in outcome.stdout.lines() {
            assert!(line.chars().count() <= 80, "{verb}: {line}");
        }
        assert!(!outcome.stdout.contains('\u{1b}'), "colours belong on a terminal");
    }
}

#[test]
fn a_model_of_one_block_is_measured_too() {
    let desk = Desk::with(Shape { layers: 1, ..Shape::TINY }, &|_, _| ());
    let outcome = desk.measure("scan --out out").succeeded();
    assert!(outcome.stdout.contains("layer 0 ("), "{}", outcome.stdout);
    assert_eq!(Csv::read(&desk.path("out/tables/prune.csv")).rows.len(), 4);
}

#[test]
fn files_that_were_in_the_output_folder_stay() {
    let desk = Desk::new();
    desk.write("out/notes.txt", "mine");
    desk.write("out/tables/other.csv", "mine too");
    desk.write("out/tables/prune.csv", "of an earlier run");
    desk.measure("prune --out out").succeeded();
    assert_eq!(std::fs::read_to_string(desk.path("out/notes.txt")).unwrap(), "mine");
    assert_eq!(std::fs::read_to_string(desk.path("out/tables/other.csv")).unwrap(), "mine too");
    assert_eq!(Csv::read(&desk.path("out/tables/prune.csv")).header, PRUNE);
}

#[test]
fn completions_know_the_verbs_and_flags() {
    let desk = Desk::empty();
    for shell in ["bash", "zsh", "fish"] {
        let script = desk.run(&format!("completions {shell}")).succeeded().stdout;
        for word in ["depthscope", "scan", "prune", "angular", "variance", "per-document", "tolerance"] {
            assert!(script.contains(word), "{shell} lacks {word}");
        }
    }
}

#[test]
fn every_verb_explains_its_flags() {
    let desk = Desk::empty();
    assert!(desk.run("--help").succeeded().stdout.contains("Exit codes: 0 done"));
    assert!(desk.run("--version").succeeded().stdout.starts_with("depthscope "));
    for verb in ["scan", "prune", "angular", "variance"] {
        let help = desk.run(&format!("{verb} --help")).succeeded().stdout;
        for flag in [
            "--model",
            "--text",
            "--tokens",
            "--text-field",
            "--samples",
            "--seq-len",
            "--pack",
            "--per-document",
            "--out",
            "--device",
            "--dtype",
            "--memory",
            "--seed",
            "--quiet",
            "--format",
            "--parts",
            "--window",
            "--tolerance",
        ] {
            assert!(help.contains(flag), "{verb} --help lacks {flag}");
        }
    }
}

#[test]
fn without_flags_the_built_in_model_reads_the_built_in_corpus() {
    let desk = Desk::empty();
    let outcome = desk.leaves_nothing(|| desk.run("scan --samples 3 --seq-len 32").succeeded());
    for words in
        ["embedded:pre", "96 tokens in 3 sequences of the built-in corpus", "layers are ineffective", "--out DIR"]
    {
        assert!(outcome.stdout.contains(words), "{words} is not in: {}", outcome.stdout);
    }
}
