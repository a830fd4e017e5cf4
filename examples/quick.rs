//! quick
use leindex_engine::*;
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let e = Engine::builder().index_dir(&a[2]).open(&a[1]).unwrap();
    let r = e.index().wait().unwrap();
    println!("{:?} gen {} {:?} {:?} rss {} MB index {} MB pubs {}", r.outcome, r.generation, r.files, r.seconds, r.peak_rss_bytes >> 20, r.index_bytes as f64 / 1e6, r.publications);
    println!("{:?}", &r.skips.iter().take(5).collect::<Vec<_>>());
    let t = std::time::Instant::now();
    let s = e.snapshot().unwrap();
    println!("open {:?}", t.elapsed());
    for q in [Query::text("schedule_timeout"), Query::text("scheduleTimeout"), Query::text("timeout"), Query::substring("chedule_time"), Query::regex(r"fn \w+_lock"), Query::regex("EXPORT_SYMBOL_GPL\\(kmal"), Query::text("kmallo*"), Query::text("page fault")] {
        let mut ts = vec![];
        let mut n = 0; let mut c = 0; let mut top = String::new(); let mut plan = String::new();
        for _ in 0..5 { let t = std::time::Instant::now(); let r = s.search(&q).unwrap(); ts.push(t.elapsed()); n = r.hits.len(); c = r.candidates; top = r.hits.first().map(|h| format!("{}:{}:{} {}", h.path.display(), h.line, h.column, h.text)).unwrap_or_default(); plan = r.plan; }
        ts.sort();
        println!("{q:?}\n   {n} hits {c} cand {:?}  {plan} | {top}", ts[2]);
    }
    let t = std::time::Instant::now();
    let v = e.verify().unwrap();
    println!("{v:?} {:?}", t.elapsed());
}
