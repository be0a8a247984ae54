/** Whether a name or address is this machine's own, which no other machine reaches. */
export function isLoopback(name: string | undefined): boolean {
  return name === 'localhost' || name === '::1' || /^127(\.\d{1,3}){3}$/.test(name ?? '');
}
